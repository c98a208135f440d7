"""What the store speaks about: artefacts, the wish of an upload, limits, and every reason to refuse.

Pure: no I/O, no protobuf.
"""

from typing import ClassVar

import msgspec

from services.chassis.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
)

CHUNK_BYTES = 1 << 20
"""The largest chunk that an upload may send."""
READ_BYTES = 512 << 10
"""The chunk that a download gets; see the README for the measurement."""
NAME_LENGTH = 255
HOLDER_LENGTH = 200
DIGESTS_PER_CALL = 1000
STALL_S = 120.0
"""An upload that sends nothing for so long is given up."""


class Artifact(msgspec.Struct, frozen=True):
    """An account's right to some bytes, and how it calls them."""

    digest: str
    size_bytes: int
    name: str
    media_type: str
    account: str
    create_time_ms: int
    reference_count: int


class Wish(msgspec.Struct, frozen=True):
    """What an upload says about itself before its first byte; digest or size is said, or both."""

    account: str
    name: str = ""
    media_type: str = ""
    digest: str = ""
    size_bytes: int = 0
    holder: str = ""

    def check_size(self, size_bytes: int) -> None:
        """Raises SizeMismatch where a size was said and this is another."""
        if self.size_bytes and size_bytes != self.size_bytes:
            raise SizeMismatch(
                f"The header said {self.size_bytes} bytes and {size_bytes} came.", field="header.size_bytes"
            )

    def check_outcome(self, digest: str, size_bytes: int) -> None:
        """Raises SizeMismatch or DigestMismatch where the bytes are not what was said."""
        self.check_size(size_bytes)
        if self.digest and digest != self.digest:
            raise DigestMismatch(
                f"The header said {self.digest} and the bytes come to {digest}.", field="header.digest"
            )


class Limits(msgspec.Struct, frozen=True):
    """What the operator of the store set."""

    quota_bytes: int = 0
    """Per account, counted in full whoever else has the same bytes; 0: none."""
    free_space_floor_bytes: int = 0
    """Uploads are refused that would leave less than this on the disk."""
    collect_grace_s: float = 7 * 86_400.0
    """How long an artefact without a reference is kept."""


class ArtifactNotFound(NotFound):
    """There is no such artefact in this account."""


class ArtifactInUse(FailedPrecondition):
    """The artefact is referred to."""


class ArtifactCorrupt(ServiceError):
    """The stored bytes are damaged or gone; they are no longer served."""

    code: ClassVar[str] = "DATA_LOSS"


class DigestInvalid(InvalidArgument):
    """A digest is a sha256 as 64 lower-case hexadecimal digits."""


class DigestMismatch(InvalidArgument):
    """The bytes do not come to the digest that the header said."""


class SizeMismatch(InvalidArgument):
    """There are not as many bytes as the header said."""


class SizeInvalid(InvalidArgument):
    """A size is not negative."""


class UploadUnstated(InvalidArgument):
    """The header has to say the digest or the size, so that a cut connection is never taken for the end."""


class UploadMalformed(InvalidArgument):
    """An upload is one header, then chunks."""


class ChunkTooLarge(InvalidArgument):
    """A chunk has at most 1 MiB."""


class SinceTimeInvalid(InvalidArgument):
    """since_time lies outside the years 1 to 9999."""


class NameInvalid(InvalidArgument):
    """A name or media type has at most 255 characters, all of them printable."""


class HolderInvalid(InvalidArgument):
    """A holder has 1 to 200 printable characters without spaces, for example task:t-12."""


class DigestsTooMany(InvalidArgument):
    """One call names 1 to 1000 digests."""


class RequestIdInvalid(InvalidArgument):
    """A request id is a UUID."""


class RequestIdReused(AlreadyExists):
    """This request id was used to delete another artefact."""


class OffsetOutOfRange(OutOfRange):
    """The offset lies outside of the artefact."""


class AccountForbidden(PermissionDenied):
    """This token speaks for another account."""


class HolderForbidden(PermissionDenied):
    """This token may not use that holder."""


class QuotaExceeded(ResourceExhausted):
    """The account's quota of stored bytes is used up."""


class FreeSpaceLow(ResourceExhausted):
    """The store keeps some space free and that floor is reached."""


class UploadStalled(DeadlineExceeded):
    """The upload sent nothing for two minutes and was given up."""


class UploadInterfered(Aborted):
    """The same bytes were deleted while they were being uploaded; send them again."""
