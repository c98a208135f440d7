"""Where the client's settings are from."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.settings import SettingsError, load


def write_state(state: Path, endpoint: str = "127.0.0.1:7100") -> dict[str, str]:
    state.mkdir(parents=True, exist_ok=True)
    (state / "client.toml").write_text(f'endpoint = "{endpoint}"\ntoken_file = "{state}/admin.token"\n')
    return {"YARD_STATE": str(state), "XDG_CONFIG_HOME": str(state / "config")}


def test_settings_without_anything_are_the_defaults(tmp_path: Path) -> None:
    settings = load({}, {"XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    assert settings.endpoint == "127.0.0.1:7070"
    assert settings.values["endpoint"].origin == "default"
    assert settings.state == tmp_path / "modelyard"
    assert settings.ca_file is None


def test_settings_follow_flag_then_environment_then_context_then_default(tmp_path: Path) -> None:
    environ = write_state(tmp_path / "state")
    assert load({}, environ).endpoint == "127.0.0.1:7100"
    assert load({}, {**environ, "YARD_ENDPOINT": "env:1"}).endpoint == "env:1"
    settings = load({"endpoint": "flag:1"}, {**environ, "YARD_ENDPOINT": "env:1"})
    assert (settings.endpoint, settings.values["endpoint"].origin) == ("flag:1", "--endpoint")
    assert settings.values["token_file"].origin == str(tmp_path / "state" / "client.toml")
    assert settings.values["store"].origin == "default"


def test_context_by_name_replaces_the_state_directory(tmp_path: Path) -> None:
    environ = write_state(tmp_path / "state")
    path = tmp_path / "state" / "config" / "modelyard" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[contexts.prod]\nendpoint = "prod:7070"\nca_file = "/ca.pem"\n')
    settings = load({"context": "prod"}, environ)
    assert (settings.endpoint, settings.values["endpoint"].origin) == ("prod:7070", "context prod")
    assert settings.ca_file == Path("/ca.pem")
    assert settings["token_file"] == ""
    with pytest.raises(SettingsError, match="prod") as caught:
        load({"context": "dev"}, environ)
    assert "[contexts.dev]" in caught.value.next_step


def test_current_context_applies_unless_a_state_directory_is_named(tmp_path: Path) -> None:
    environ = write_state(tmp_path / "state")
    path = tmp_path / "state" / "config" / "modelyard" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('current = "prod"\n[contexts.prod]\nendpoint = "prod:7070"\n')
    assert load({}, environ).endpoint == "127.0.0.1:7100"
    without = {"XDG_CONFIG_HOME": environ["XDG_CONFIG_HOME"], "XDG_STATE_HOME": str(tmp_path)}
    assert load({}, without).endpoint == "prod:7070"


def test_unknown_key_of_a_context_is_refused(tmp_path: Path) -> None:
    environ = write_state(tmp_path / "state")
    (tmp_path / "state" / "client.toml").write_text('endpiont = "x:1"\n')
    with pytest.raises(SettingsError, match="endpiont"):
        load({}, environ)


def test_broken_file_is_named(tmp_path: Path) -> None:
    environ = write_state(tmp_path / "state")
    (tmp_path / "state" / "client.toml").write_text("endpoint = \n")
    with pytest.raises(SettingsError, match=r"client\.toml"):
        load({}, environ)


def test_token_file_must_be_private_present_and_full(tmp_path: Path) -> None:
    environ = write_state(tmp_path / "state")
    token = tmp_path / "state" / "admin.token"
    with pytest.raises(SettingsError, match="cannot be read"):
        load({}, environ).token()
    token.write_text("secret\n")
    token.chmod(0o644)
    with pytest.raises(SettingsError, match="others may read"):
        load({}, environ).token()
    token.chmod(0o600)
    assert load({}, environ).token() == "secret"
    token.write_text("\n")
    with pytest.raises(SettingsError, match="empty"):
        load({}, environ).token()


def test_token_of_the_environment_goes_before_a_file_but_not_before_a_flag(tmp_path: Path) -> None:
    environ = {**write_state(tmp_path / "state"), "YARD_TOKEN": "from-env"}
    assert load({}, environ).token() == "from-env"
    other = tmp_path / "other.token"
    other.write_text("from-flag")
    other.chmod(0o600)
    assert load({"token_file": str(other)}, environ).token() == "from-flag"
