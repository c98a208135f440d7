"""Page sizes and page tokens of List calls (AIP-158).

A token is opaque to callers and bound to the filter it was made under. It is no secret: whoever
decodes a cursor must still check what the caller may see.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from services.chassis.errors import InvalidArgument

_KEY_BYTES = 8


class PageSizeNegative(InvalidArgument):
    """page_size may not be negative; 0 asks for the default."""


class PageTokenInvalid(InvalidArgument):
    """page_token is not one that this list gave out."""


class PageTokenMismatch(InvalidArgument):
    """page_token belongs to a list with another filter; keep the filter while paging."""


def page_size(requested: int, default: int = 50, most: int = 1000) -> int:
    """The number of items to answer with: 0 gives `default`, more than `most` gives `most`."""
    if requested < 0:
        raise PageSizeNegative(field="page_size", metadata={"page_size": str(requested)})
    return min(requested, most) or default


def encode_token(cursor: str, filter_key: bytes) -> str:
    """A page token for the position `cursor` under the filter that `filter_key` stands for."""
    return base64.urlsafe_b64encode(_digest(filter_key) + cursor.encode()).rstrip(b"=").decode()


def decode_token(token: str, filter_key: bytes) -> str:
    """The cursor in `token`; the empty token gives the empty cursor (the first page)."""
    if not token:
        return ""
    try:
        raw = base64.b64decode(token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        key, cursor = raw[:_KEY_BYTES], raw[_KEY_BYTES:].decode()
    except (binascii.Error, UnicodeError) as error:
        raise PageTokenInvalid(field="page_token") from error
    if len(key) < _KEY_BYTES or not cursor:
        raise PageTokenInvalid(field="page_token")
    if key != _digest(filter_key):
        raise PageTokenMismatch(field="page_token")
    return cursor


def _digest(filter_key: bytes) -> bytes:
    return hashlib.sha256(filter_key).digest()[:_KEY_BYTES]
