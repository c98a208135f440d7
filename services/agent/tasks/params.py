"""Parameters as texts: JSON objects, laid over each other. Pure; values are carried through as they are spelled."""

from __future__ import annotations

import msgspec

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])


def merged_params(params_json: str, override_json: str) -> str:
    """The first with the second laid over, key by key; an empty text is an empty object."""
    if not override_json or not params_json:
        return override_json or params_json
    return msgspec.json.encode({**_DECODER.decode(params_json), **_DECODER.decode(override_json)}).decode()
