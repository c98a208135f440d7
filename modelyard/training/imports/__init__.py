"""Job files of other controllers, read as ours. Pure: nothing of a source is executed, and none of it is fetched."""

from modelyard.training.imports.conversion import Imported, convert

__all__ = ["Imported", "convert"]
