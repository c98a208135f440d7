"""Looks at a component's files and says what they tell of it; none of its code ever runs (S2.2).

`inspect_component` takes a file or a directory. Every format has a module of its own, and its libraries are loaded
there only. It is meant for a worker or for whoever owns the files: a service never opens a component.
"""

from modelyard.inspection.detection import ComponentUnknown, LibraryMissing, inspect_component

__all__ = ["ComponentUnknown", "LibraryMissing", "inspect_component"]
