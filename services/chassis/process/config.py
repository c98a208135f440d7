"""The configuration of a service: one frozen dataclass, read once, passed down.

Owns where values come from (flag > YARD_* > TOML file > default) and how they are refused. Knows
no service: each adds its own fields, whose `help` metadata is their documentation.
"""

from __future__ import annotations

import argparse
import os
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from modelyard.nearest import nearest
from services.chassis.errors import StartRefused


def default_state_dir() -> Path:
    """$XDG_STATE_HOME/modelyard, or ~/.local/state/modelyard."""
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "modelyard"


def option(default: Any, help: str, *, choices: Sequence[str] = (), secret: bool = False) -> Any:
    """A dataclass field with its documentation; `secret` ones print as stars."""
    return field(default=default, metadata={"help": help, "choices": tuple(choices), "secret": secret})


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """What every service can be told. Services subclass it with @dataclass(frozen=True, kw_only=True)."""

    state_dir: Path = field(
        default_factory=default_state_dir,
        metadata={"help": "directory that holds all state", "flag": "--state", "env": "YARD_STATE"},
    )
    host: str = option("127.0.0.1", "address to listen on; any but loopback needs --tls")
    port: int = option(0, "TCP port to listen on; 0 takes any free one")
    tls: bool = option(False, "serve TLS with a certificate of the yard's own authority")
    log_level: str = option("info", "least severe line to log", choices=("debug", "info", "warning", "error"))
    log_format: str = option(
        "auto",
        "form of log lines; auto: console on a terminal, else json",
        choices=("auto", "json", "console"),
    )
    metrics_port: int = option(0, "loopback port that serves Prometheus metrics; 0: off")


@dataclass(frozen=True, kw_only=True)
class AuditedConfig(ServiceConfig):
    """Of a service that others call: it keeps an audit log, <state>/<service>/audit.db."""

    audit_keep_days: int = option(365, "days that entries of the audit log are kept")
    audit_keep_bytes: int = option(
        256 << 20, "bytes that the audit log may take; the oldest entries go first"
    )


C = TypeVar("C", bound=ServiceConfig)


class ConfigInvalid(StartRefused):
    """The configuration is refused."""


@dataclass(frozen=True)
class Setting:
    """A value and where it comes from ("flag", "YARD_STATE", "yard.toml", "default")."""

    value: Any
    origin: str


def load(cls: type[C], argv: Sequence[str], environ: Mapping[str, str], prog: str) -> C:
    """The configuration of the program `prog`, e.g. "yard-scheduler".

    Prints to stderr and exits with code 2 when something is refused; `--help` and `--print-config`
    print and exit with code 0.
    """
    try:
        flags = _parse_flags(cls, argv, prog)
        settings = resolve(cls, flags, environ, prog)
        config = cls(**{name: setting.value for name, setting in settings.items()})
    except ConfigInvalid as error:
        sys.stderr.write(f"{prog}: {error}\n")
        raise SystemExit(2) from None
    if flags.get("print_config"):
        sys.stdout.write(render(cls, settings))
        raise SystemExit(0)
    return config


def resolve(
    cls: type[C], flags: Mapping[str, str], environ: Mapping[str, str], prog: str
) -> dict[str, Setting]:
    """Every field's setting. Raises ConfigInvalid, naming the origin and the nearest known key."""
    known = {item.name: item for item in fields(cls)}
    kinds = typing.get_type_hints(cls)
    prefix = "YARD_" + prog.removeprefix("yard-").upper().replace("-", "_") + "_"
    _refuse_unknown_environment(known, environ, prefix)
    settings = {name: Setting(_default(item), "default") for name, item in known.items()}
    path = flags.get("config") or environ.get(prefix + "CONFIG") or environ.get("YARD_CONFIG")
    if path:
        for key, value in _read_toml(Path(path), known).items():
            settings[key] = Setting(_convert(value, kinds[key], known[key], f"{key} in {path}"), path)
    for name, item in known.items():
        for variable in (_shared_variable(item), prefix + name.upper()):
            if variable in environ:
                value = _convert(environ[variable], kinds[name], item, variable)
                settings[name] = Setting(value, variable)
        if name in flags:
            settings[name] = Setting(_convert(flags[name], kinds[name], item, _flag(item)), "flag")
    return settings


def render(cls: type[C], settings: Mapping[str, Setting]) -> str:
    """One line per field: name, value (stars for secrets), origin."""
    secret = {item.name for item in fields(cls) if item.metadata.get("secret")}
    lines = []
    for name, setting in settings.items():
        shown = "***" if name in secret and setting.value else str(setting.value)
        lines.append(f"{name} = {shown}  ({setting.origin})")
    return "\n".join(lines) + "\n"


def _flag(item: Field[Any]) -> str:
    return str(item.metadata.get("flag") or "--" + item.name.replace("_", "-"))


def _shared_variable(item: Field[Any]) -> str:
    """The variable that all services read; YARD_<SERVICE>_<FIELD> goes before it."""
    return str(item.metadata.get("env") or "YARD_" + item.name.upper())


def _default(item: Field[Any]) -> Any:
    if item.default_factory is not MISSING:
        return item.default_factory()
    return None if item.default is MISSING else item.default


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        raise ConfigInvalid(f"{message}; see {self.prog} --help")


def _parse_flags(cls: type[ServiceConfig], argv: Sequence[str], prog: str) -> dict[str, str]:
    kinds = typing.get_type_hints(cls)
    parser = _Parser(
        prog=prog, allow_abbrev=False, argument_default=argparse.SUPPRESS, description=cls.__doc__
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file with any of the options below")
    parser.add_argument("--print-config", action="store_true", help="show every value and its origin")
    for item in fields(cls):
        text = f"{item.metadata.get('help', '')} (default: {_default(item)})".replace("%", "%%")
        if kinds[item.name] is bool:
            parser.add_argument(_flag(item), dest=item.name, help=text, action=argparse.BooleanOptionalAction)
        else:
            parser.add_argument(_flag(item), dest=item.name, help=text, metavar=item.name.upper())
    values, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        raise ConfigInvalid(f"unknown option {unknown[0]}{_nearest(unknown[0].split('=')[0], known)}")
    return vars(values)


def _refuse_unknown_environment(known: Mapping[str, Any], environ: Mapping[str, str], prefix: str) -> None:
    names = [prefix + name.upper() for name in (*known, "config")]
    for variable in environ:
        if variable.startswith(prefix) and variable not in names:
            raise ConfigInvalid(f"unknown environment variable {variable}{_nearest(variable, names)}")


def _read_toml(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    import tomllib  # rarely needed

    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigInvalid(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}") from error
    for key in table:
        if key not in known:
            raise ConfigInvalid(f"unknown key {key!r} in {path}{_nearest(key, list(known))}")
    return table


def _nearest(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known, 0.5)
    return f"; did you mean {near}?" if near else f"; known: {', '.join(sorted(known))}"


def _convert(value: Any, kind: Any, item: Field[Any], origin: str) -> Any:
    """`value`, a text or a TOML value, as the field's type."""
    try:
        converted = _parse(value, kind)
    except (ValueError, TypeError):
        raise ConfigInvalid(f"{origin}: {value!r} is not {_KINDS.get(kind, 'valid')}") from None
    choices = item.metadata.get("choices")
    if choices and converted not in choices:
        raise ConfigInvalid(f"{origin}: {value!r} is not one of {', '.join(choices)}")
    return converted


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "a text"}
_WORDS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _parse(value: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        inner = [arm for arm in typing.get_args(kind) if arm is not type(None)]
        return None if value in (None, "") else _parse(value, inner[0])
    if origin is tuple:
        parts = (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )
        return tuple(_parse(part, typing.get_args(kind)[0]) for part in parts)
    if origin is Literal:
        if value not in typing.get_args(kind):
            raise ValueError(value)
        return value
    if kind is bool:
        return value if isinstance(value, bool) else _word(str(value))
    if isinstance(value, bool):
        raise ValueError(value)
    if kind is Path:
        return Path(str(value)).expanduser()
    if kind in (int, float):
        return kind(value)
    return str(value)


def _word(text: str) -> bool:
    if text.lower() not in _WORDS:
        raise ValueError(text)
    return _WORDS[text.lower()]
