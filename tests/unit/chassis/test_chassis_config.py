"""Where options come from and how they are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.chassis.process.config import ServiceConfig, default_state_dir, load, option


@dataclass(frozen=True, kw_only=True)
class Config(ServiceConfig):
    """A service's options."""

    port: int = option(7070, "TCP port")
    window_s: float = option(1.0, "length of the window in seconds")
    labels: tuple[str, ...] = option((), "labels of the machine")
    api_key: str = option("", "a secret", secret=True)
    folder: Path | None = field(default=None, metadata={"help": "a folder, if any"})


def loaded(*argv: str, env: Mapping[str, str] | None = None) -> Config:
    return load(Config, argv, env or {}, "yard-test")


def refused(
    capsys: pytest.CaptureFixture[str], argv: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> str:
    with pytest.raises(SystemExit) as caught:
        loaded(*argv, env=env)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_defaults_are_safe() -> None:
    config = loaded()
    assert (config.host, config.port, config.tls, config.metrics_port) == ("127.0.0.1", 7070, False, 0)
    assert config.state_dir == default_state_dir()


def test_flag_goes_before_environment_before_file_before_default(tmp_path: Path) -> None:
    file = tmp_path / "yard.toml"
    file.write_text("port = 1\nwindow_s = 2\nlog_level = 'debug'\n")
    env = {"YARD_TEST_PORT": "3", "YARD_WINDOW_S": "4.5"}
    config = loaded("--config", str(file), "--port", "5", env=env)
    assert (config.port, config.window_s, config.log_level) == (5, 4.5, "debug")


def test_variable_of_the_service_goes_before_the_shared_one() -> None:
    assert loaded(env={"YARD_PORT": "1", "YARD_TEST_PORT": "2"}).port == 2
    assert loaded(env={"YARD_STATE": "/x"}).state_dir == Path("/x")
    assert loaded(env={"YARD_FAILPOINTS": "x", "YARD_OTHER_PORT": "9"}).port == 7070


def test_values_become_the_types_of_their_fields(tmp_path: Path) -> None:
    file = tmp_path / "yard.toml"
    file.write_text('labels = ["a", "b"]\ntls = true\nfolder = "/f"\n')
    config = loaded("--config", str(file))
    assert (config.labels, config.tls, config.folder) == (("a", "b"), True, Path("/f"))
    assert loaded("--labels", "a, b").labels == ("a", "b")
    assert loaded("--no-tls", env={"YARD_TLS": "1"}).tls is False


@pytest.mark.parametrize(
    ("argv", "env", "words"),
    [
        (["--prot", "1"], {}, ["--prot", "did you mean --port?"]),
        (["--port", "many"], {}, ["--port", "'many' is not a whole number"]),
        (["--log-level", "loud"], {}, ["one of debug, info, warning, error"]),
        ([], {"YARD_TEST_PROT": "1"}, ["YARD_TEST_PROT", "did you mean YARD_TEST_PORT?"]),
        ([], {"YARD_TLS": "maybe"}, ["YARD_TLS", "true or false"]),
        (["--config", "/absent.toml"], {}, ["cannot read /absent.toml"]),
        (["--port"], {}, ["--port", "--help"]),
    ],
)
def test_refusal_says_what_and_where(
    capsys: pytest.CaptureFixture[str], argv: list[str], env: dict[str, str], words: list[str]
) -> None:
    line = refused(capsys, argv, env)
    assert line.startswith("yard-test: ")
    assert line.count("\n") == 1
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", ["unknown key 'prot'", "did you mean port?"]),
        ("port = true", ["port in", "not a whole number"]),
        ("port =", ["is not TOML"]),
    ],
)
def test_file_refused_says_what_and_where(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, words: list[str]
) -> None:
    file = tmp_path / "yard.toml"
    file.write_text(text)
    line = refused(capsys, ["--config", str(file)])
    for word in (*words, str(file)):
        assert word in line


def test_print_config_shows_origin_and_hides_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        loaded("--print-config", "--port", "5", env={"YARD_API_KEY": "hunter2"})
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "port = 5  (flag)" in shown
    assert "api_key = ***  (YARD_API_KEY)" in shown
    assert "window_s = 1.0  (default)" in shown
    assert "hunter2" not in shown


def test_help_documents_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        loaded("--help")
    shown = capsys.readouterr().out
    assert "length of the window in seconds" in shown
    assert "directory that holds all state" in shown
