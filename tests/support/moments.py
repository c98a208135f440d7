"""Times as protobuf's JSON has them, which has no fraction where that is 0: as text "…09Z" stands behind "…09.5Z"."""

from datetime import datetime


def moment(text: str) -> datetime:
    """The time, to be compared."""
    return datetime.fromisoformat(text)
