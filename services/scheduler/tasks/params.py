"""Parameters as texts: JSON objects, laid over each other. Pure; values are carried through as they are spelled."""

import msgspec

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])


def laid_over(params: str, changes: str) -> str:
    """``changes`` on top of ``params``, key by key; an empty text is an empty object. Both were checked before."""
    if not changes or not params:
        return changes or params
    return msgspec.json.encode({**_DECODER.decode(params), **_DECODER.decode(changes)}).decode()
