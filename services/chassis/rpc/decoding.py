"""Messages that cannot be decoded, refused in the service's own words.

Owns the wrapping of deserialisers: gRPC by itself answers a bare INTERNAL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from services.chassis.errors import InvalidArgument

Decode = Callable[[bytes], Any] | None


class MalformedMessage(InvalidArgument):
    """The request's bytes are not a message of the type that this call takes."""


class _Malformed:
    """Stands for a unary request that could not be decoded, until the handler can refuse it."""


MALFORMED = _Malformed()


def marking(decode: Decode) -> Decode:
    """A deserialiser for one request: gRPC would answer a decoding error by a bare INTERNAL."""
    if decode is None:
        return None

    def decode_or_mark(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return MALFORMED

    return decode_or_mark


def refusing(decode: Decode) -> Decode:
    """A deserialiser for streamed requests: its error surfaces where the handler reads."""
    if decode is None:
        return None

    def decode_or_refuse(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError as error:
            raise MalformedMessage from error

    return decode_or_refuse
