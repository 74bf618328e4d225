"""Which addresses may be upstreams, where keys come from, and what is never repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localgpt.errors import ConfigError
from localgpt.runtime.upstream.address import Upstream, read_upstreams
from localgpt.settings import Settings, UpstreamSettings, build_settings, settings_from_config

LOCAL = "http://127.0.0.1:11434/v1"


@pytest.fixture(autouse=True)
def without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"LOCALGPT_{name.upper()}", raising=False)


def read(environment: dict[str, str] | None = None, *, name: str = "box", **entry: Any) -> Upstream:
    (upstream,) = read_upstreams({name: UpstreamSettings(**{"base_url": LOCAL} | entry)}, environment or {})
    return upstream


@pytest.mark.parametrize(
    "url",
    [LOCAL, "http://localhost:8080/v1/", "https://[::1]/v1", "http://127.8.9.1:1", "http://LOCALHOST/v1"],
)
def test_this_machine_needs_no_leave(url: str) -> None:
    upstream = read(base_url=url)
    assert not upstream.is_remote and upstream.warning is None and not upstream.base_url.endswith("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.1.5:8000/v1",
        "https://api.example.org/v1",
        "http://0.0.0.0:8000/v1",
        "http://[::]:8000/v1",
        "http://localhost.example.org/v1",  # looks like this machine
        "http://127.0.0.1.nip.io/v1",  # stands for it today
        "http://127.1/v1",
        "http://2130706433/v1",
        "http://[::ffff:127.0.0.1]/v1",
        "http://printer.local/v1",
        "http://169.254.169.254/v1",
    ],
)
def test_another_machine_needs_leave_and_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match=r"upstream box is at .*not this machine.*Set allow_remote"):
        read(base_url=url)
    upstream = read(base_url=url, allow_remote=True)
    assert upstream.is_remote
    assert upstream.warning is not None
    assert upstream.warning.startswith("what is asked of upstream:box leaves this machine, to ")
    assert upstream.warning.endswith(", unencrypted") == url.startswith("http:")


def test_a_tunnel_on_this_machine_is_told_too() -> None:
    assert read(allow_remote=True).warning == (
        "what is asked of upstream:box may leave this machine, by way of 127.0.0.1:11434"
    )


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:11434", "ftp://127.0.0.1/v1", "file:///etc/passwd", "http://", "http://127.0.0.1:99999",
            "http://127.0.0.1/v1?x=1", "http://127.0.0.1/v1#x", "http://[::1/v1"]
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(
        ConfigError, match=r"the address of upstream box is .*expected one such as http://127"
    ):
        read(base_url=url)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="holds a user or a password") as caught:
        read(base_url="http://me:hidden@127.0.0.1/v1")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "Box", "a b", "a/b", "a:b", "-a", "x" * 33, "a\n"])
def test_names_that_cannot_stand_in_a_model_id(name: str) -> None:
    with pytest.raises(ConfigError, match="the upstream name"):
        read(name=name)


def test_a_key_comes_from_a_variable_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-from-file\n")
    assert read({"BOX_KEY": " sk-from-env "}, api_key_env="BOX_KEY").key == "sk-from-env"
    upstream = read(api_key_file=path)
    assert upstream.key == "sk-from-file" and "sk-from-file" not in repr(upstream)


def test_keys_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the variable BOX_KEY holds no key for upstream box"):
        read(api_key_env="BOX_KEY")
    with pytest.raises(ConfigError, match="holds no key") as caught:
        read({"BOX_KEY": "two words"}, api_key_env="BOX_KEY")
    assert "two words" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"cannot read the key of upstream box .*No such file"):
        read(api_key_file=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="both api_key_env and api_key_file"):
        read({"BOX_KEY": "k"}, api_key_env="BOX_KEY", api_key_file=tmp_path)


def test_a_key_goes_to_no_other_machine_unencrypted() -> None:
    given = {"api_key_env": "BOX_KEY", "allow_remote": True}
    with pytest.raises(ConfigError, match="without encryption") as caught:
        read({"BOX_KEY": "sk-hidden"}, base_url="http://192.168.1.5/v1", **given)
    assert "sk-hidden" not in str(caught.value)
    assert read({"BOX_KEY": "sk-hidden"}, base_url="https://192.168.1.5/v1", **given).tls is not None
    assert read({"BOX_KEY": "sk-hidden"}, **given).key == "sk-hidden"


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"cannot read the certificates of upstream box .*expected PEM"):
        read(base_url="https://127.0.0.1/v1", ca_file=path)
    with pytest.raises(ConfigError, match="a ca_file but no https address"):
        read(ca_file=path)


def test_the_environment_names_upstreams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALGPT_UPSTREAMS__ollama__BASE_URL", LOCAL)
    monkeypatch.setenv("LOCALGPT_UPSTREAMS__ollama__KIND", "ollama")
    expected = {"ollama": UpstreamSettings(base_url=LOCAL, kind="ollama")}
    assert build_settings().upstreams == expected
    # An argument goes before the environment, field by field.
    merged = build_settings(upstreams={"ollama": {"base_url": "http://[::1]/v1"}}).upstreams
    assert merged["ollama"].kind == "ollama" and merged["ollama"].base_url == "http://[::1]/v1"
    monkeypatch.delenv("LOCALGPT_UPSTREAMS__ollama__BASE_URL")
    monkeypatch.delenv("LOCALGPT_UPSTREAMS__ollama__KIND")
    monkeypatch.setenv("LOCALGPT_UPSTREAMS", f'{{"ollama": {{"base_url": "{LOCAL}", "kind": "ollama"}}}}')
    assert build_settings().upstreams == expected
    monkeypatch.setenv("LOCALGPT_UPSTREAMS__box__BASE_URL", LOCAL)
    with pytest.raises(ConfigError, match="as JSON and field by field"):
        build_settings()


def test_start_api_names_upstreams() -> None:
    settings = settings_from_config({"upstreams": {"box": {"base_url": LOCAL}}}, host="127.0.0.1", port=0)
    assert settings.upstreams["box"].base_url == LOCAL


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("sk-secret", r"setting upstreams cannot be used: expected JSON"),
        ('["sk-secret"]', r"setting upstreams cannot be used: input should be a valid dictionary"),
        ('{"a": "sk-secret"}', r"setting upstreams\.a cannot be used"),
        ('{"a": {}}', r"setting upstreams\.a\.base_url is missing"),
        (
            '{"a": {"base_url": "http://h", "api_key": "sk-secret"}}',
            r"unknown setting .*api_key_env, api_key_file",
        ),
        (
            '{"a": {"base_url": "http://h", "kind": "sk-secret"}}',
            r"upstreams\.a\.kind cannot be used.*'ollama'",
        ),
    ],
)
def test_what_cannot_be_read_is_told_without_its_values(written: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        build_settings(upstreams=written)
    assert "sk-secret" not in str(caught.value)
