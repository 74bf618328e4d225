"""Settings: what is refused, in which words, and what is never repeated."""

from __future__ import annotations

from typing import Any

import pytest

from localgpt.errors import ConfigError
from localgpt.settings import Settings, build_settings, settings_from_config


@pytest.fixture(autouse=True)
def without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"LOCALGPT_{name.upper()}", raising=False)


@pytest.mark.parametrize("keys", [("",), (" ",), ("a-long-enough-key", "\t")])
def test_an_empty_key_is_refused(keys: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"api_keys cannot be used: a key is empty, .* long random one"):
        build_settings(api_keys=keys)


@pytest.mark.parametrize("key", [None, 5, {"key": 1}, "", ["good-enough", " "], [5]])
def test_a_strange_key_of_a_config_is_a_setting_that_is_wrong(key: Any) -> None:
    with pytest.raises(ConfigError, match="api_key") as caught:
        settings_from_config({"api_key": key}, host="127.0.0.1", port=0)
    assert "good-enough" not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    settings = build_settings(
        api_keys=("hidden-key",), database_url="postgresql+asyncpg://me:hidden-word@db/x", passphrase="hidden"
    )
    assert "hidden" not in repr(settings) and "hidden" not in str(settings)


@pytest.mark.parametrize("name", ["api_keys", "allowed_hosts", "trusted_proxies"])
@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("secretkey", ("secretkey",)),
        ("secretkey, b.example", ("secretkey", "b.example")),
        ('["secretkey", "with,comma"]', ("secretkey", "with,comma")),
        ("[]", ()),
    ],
)
def test_lists_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, written: str, read: tuple[str, ...]
) -> None:
    monkeypatch.setenv(f"LOCALGPT_{name.upper()}", written)
    assert getattr(build_settings(), name) == read


@pytest.mark.parametrize("name", ["api_keys", "allowed_hosts", "trusted_proxies"])
@pytest.mark.parametrize(
    ("written", "part"),
    [
        ('"secretkey"', "without quotes"),
        ("'secretkey'", "without quotes"),
        ('["secretkey"', "without quotes"),
        ('{"secretkey": 1}', "without quotes"),
        ('["secretkey", 5]', "without quotes"),
        ("", "is empty"),
        ("secretkey,", "is empty"),
        ('["secretkey", " "]', "is empty"),
    ],
)
def test_lists_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, name: str, written: str, part: str
) -> None:
    monkeypatch.setenv(f"LOCALGPT_{name.upper()}", written)
    with pytest.raises(ConfigError, match=f"setting {name}.*{part}") as caught:
        build_settings()
    assert name != "api_keys" or "secretkey" not in str(caught.value)


def test_a_table_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALGPT_MODEL_ALIASES", '{"mine": "local/other"}')
    assert build_settings().model_aliases == {"mine": "local/other"}
    monkeypatch.setenv("LOCALGPT_MODEL_ALIASES", "mine=other")
    with pytest.raises(ConfigError, match=r"model_aliases is 'mine=other'; expected JSON"):
        build_settings()


@pytest.mark.parametrize("words", ["", "  "])
def test_a_passphrase_that_was_set_is_not_empty(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setenv("LOCALGPT_PASSPHRASE", words)
    with pytest.raises(ConfigError, match="passphrase cannot be used: it is empty"):
        build_settings()
