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
    with pytest.raises(ConfigError, match=r"api_keys cannot be used: a key is empty .* long random one"):
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
