"""What a pickle imports tells what opening it would do: the names that no model needs."""

COMPUTED = "a name that is only known once it is opened"
DANGEROUS = frozenset(
    {
        *("os", "nt", "posix", "subprocess", "sys", "shutil", "socket", "pty", "runpy", "importlib", "ctypes"),
        *("webbrowser", "code", "codeop", "commands", "asyncio", "multiprocessing", "pip", "requests", "urllib"),
        *("builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__", "builtins.open"),
        *("__builtin__.eval", "__builtin__.exec", "types.CodeType", "types.FunctionType", COMPUTED),
    }
)  # fmt: skip
"""Modules and names by which opening a file does something else than loading a model."""
SUSPICIOUS = frozenset(
    {"operator", "_operator", "builtins.getattr", "__builtin__.getattr", "functools.partial"}
)
"""Models use them now and then; so do those who hide what they do."""
