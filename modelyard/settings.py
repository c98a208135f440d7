"""Where the yard is and who we are: flag > environment > context > default, each value with its origin.

Owns: reading `client.toml` of a state directory, the contexts of the user's configuration file, and the
environment. Standard library only (it is loaded for every command). It opens no connection.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ENDPOINT = "127.0.0.1:7070"
DEFAULT_STORE = "127.0.0.1:7071"
DEFAULT_GRAPH = "127.0.0.1:7072"
DEFAULT_TRAINER = "127.0.0.1:7073"
DEFAULT_MODELS = "127.0.0.1:7074"

VARIABLES = {
    "state": "YARD_STATE",
    "context": "YARD_CONTEXT",
    "endpoint": "YARD_ENDPOINT",
    "store": "YARD_STORE",
    "graph": "YARD_GRAPH",
    "trainer": "YARD_TRAINER",
    "models": "YARD_MODELS",
    "token": "YARD_TOKEN",
    "token_file": "YARD_TOKEN_FILE",
    "ca_file": "YARD_CA_FILE",
    "output": "YARD_OUTPUT",
}
"""The environment variable of each setting."""

CONTEXT_KEYS = ("endpoint", "store", "graph", "trainer", "models", "token_file", "ca_file")
"""What a context, or a `client.toml`, may say."""


class SettingsError(Exception):
    """A configuration file, a context or a token file cannot be used."""

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


@dataclass(frozen=True, slots=True)
class Value:
    """A setting and where it is from, for people: "--endpoint", "YARD_ENDPOINT", "default"."""

    text: str
    origin: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a client needs to know, resolved."""

    values: Mapping[str, Value]

    def __getitem__(self, name: str) -> str:
        return self.values[name].text

    @property
    def state(self) -> Path:
        """The state directory; it need not exist."""
        return Path(self["state"])

    @property
    def endpoint(self) -> str:
        """host:port of the scheduler."""
        return self["endpoint"]

    @property
    def store(self) -> str:
        """host:port of the store."""
        return self["store"]

    @property
    def graph(self) -> str:
        """host:port of the graph service."""
        return self["graph"]

    @property
    def trainer(self) -> str:
        """host:port of the trainer."""
        return self["trainer"]

    @property
    def models(self) -> str:
        """host:port of the models service."""
        return self["models"]

    @property
    def ca_file(self) -> Path | None:
        """The certificate authority to trust; None: plaintext."""
        return Path(self["ca_file"]) if self["ca_file"] else None

    def token(self) -> str:
        """The bearer token, "" when there is none. Raises SettingsError when its file cannot be read."""
        if self["token"]:
            return self["token"]
        return read_token(Path(self["token_file"])) if self["token_file"] else ""


def default_state(environ: Mapping[str, str] = os.environ) -> Path:
    """$XDG_STATE_HOME/modelyard, or ~/.local/state/modelyard."""
    home = environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home else Path.home() / ".local" / "state") / "modelyard"


def contexts_file(environ: Mapping[str, str] = os.environ) -> Path:
    """$XDG_CONFIG_HOME/modelyard/config.toml, or ~/.config/modelyard/config.toml."""
    home = environ.get("XDG_CONFIG_HOME", "")
    return (Path(home) if home else Path.home() / ".config") / "modelyard" / "config.toml"


def load(flags: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Resolves every setting. Raises SettingsError for a broken file or an unknown context."""
    environ = os.environ if environ is None else environ
    given = {name: Value(text, _flag(name)) for name, text in (flags or {}).items() if text}
    for name, variable in VARIABLES.items():
        if environ.get(variable):
            given.setdefault(name, Value(environ[variable], variable))
    if (flags or {}).get("token_file"):
        given.pop("token", None)
    given.setdefault("state", Value(str(default_state(environ)), "default"))
    given["state"] = Value(str(Path(given["state"].text).expanduser().absolute()), given["state"].origin)
    for name, value in _context_values(given, environ).items():
        given.setdefault(name, value)
    for name in VARIABLES:
        given.setdefault(name, Value(_DEFAULTS.get(name, ""), "default"))
    return Settings(given)


_DEFAULTS = {
    "endpoint": DEFAULT_ENDPOINT,
    "store": DEFAULT_STORE,
    "graph": DEFAULT_GRAPH,
    "trainer": DEFAULT_TRAINER,
    "models": DEFAULT_MODELS,
    "output": "table",
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _context_values(given: Mapping[str, Value], environ: Mapping[str, str]) -> dict[str, Value]:
    """The chosen context; without one, the yard of the state directory."""
    path = contexts_file(environ)
    document = _read_toml(path)
    chosen = given.get("context")
    if chosen is None and document.get("current") and given["state"].origin == "default":
        chosen = Value(str(document["current"]), str(path))
    if chosen is None:
        return _values_of(
            _read_toml(given["state"].text + "/client.toml"), given["state"].text + "/client.toml"
        )
    contexts = _table(document.get("contexts"))
    if chosen.text not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        raise SettingsError(
            f"there is no context {chosen.text!r} in {path} (known: {known})",
            f"add a table [contexts.{chosen.text}] with endpoint, store, graph, trainer, models, token_file and ca_file"
            f" to {path}",
        )
    values = _values_of(_table(contexts[chosen.text]), f"context {chosen.text}")
    return {**values, "context": chosen}


def _values_of(table: Mapping[str, object], origin: str) -> dict[str, Value]:
    unknown = sorted(set(table) - set(CONTEXT_KEYS))
    if unknown:
        raise SettingsError(f"{origin} has an unknown key {unknown[0]!r} (known: {', '.join(CONTEXT_KEYS)})")
    return {
        key: Value(str(Path(text).expanduser()) if key.endswith("_file") else text, origin)
        for key, text in ((key, str(value)) for key, value in table.items())
        if text
    }


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _read_toml(path: Path | str) -> dict[str, object]:
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", f"correct or remove {path}") from error


def read_token(path: Path) -> str:
    """The secret in a file. Raises SettingsError if it cannot be read, is empty, or others may read it."""
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"others may read the token file {path}", f"chmod 600 {path}")
        token = path.read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"the token file {path} cannot be read: {error.strerror}", "yard up, or pass --token-file FILE"
        ) from error
    if not token:
        raise SettingsError(
            f"the token file {path} is empty", "write the token that `yard tokens add` showed into it"
        )
    return token
