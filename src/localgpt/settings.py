"""Settings of one process, and the folder all state lives in.

Values come from arguments first, then from the environment (`LOCALGPT_PORT=9000`), then from the defaults
here. Nothing is read and no folder is made when this module is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from localgpt.errors import ConfigError

__all__ = ["CONFIG_KEYS", "Settings", "build_settings", "data_folder", "settings_from_config"]

CONFIG_KEYS: Mapping[str, str] = {
    "modelpath": "model",
    "model_path": "model",
    "model": "model",
    "device": "device",
    "max_batch_size": "max_batch_size",
    "enable语音": "enable_voice",
    "enable_voice": "enable_voice",
    "fp16": "fp16",
    "use_cache": "use_cache",
    "data_dir": "data_dir",
    "api_key": "api_keys",
    "log_level": "log_level",
}
"""Keys `start_api` knows, and the setting each one names."""


class Settings(BaseSettings):
    """What a server or a command needs to know; unknown names are errors."""

    model_config = SettingsConfigDict(
        env_prefix="LOCALGPT_", extra="forbid", frozen=True, str_strip_whitespace=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)  # 0 lets the system choose
    api_keys: tuple[str, ...] = ()  # any of them opens the server; none is allowed on loopback only
    model: str | None = None  # folder, file or catalogue id; None is the embedded family
    device: str = "auto"
    fp16: bool = False
    use_cache: bool = False
    max_batch_size: int = Field(default=4, ge=1, le=64)
    enable_voice: bool = True
    data_dir: Path | None = None  # None: see `data_folder`
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def build_settings(**values: Any) -> Settings:
    """Settings of the given values, the environment and the defaults.

    Raises:
        ConfigError: a name is unknown or a value is impossible; says which, what was got, what is expected.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"unknown setting {name!r}; known settings: {', '.join(sorted(Settings.model_fields))}"
            ) from None
        raise ConfigError(
            f"setting {name} is {first['input']!r}; {first['msg'][:1].lower()}{first['msg'][1:]}"
        ) from None


def settings_from_config(config: Mapping[str, Any], *, host: str, port: int) -> Settings:
    """Settings of the dictionary that `start_api` takes.

    Args:
        config: keys of `CONFIG_KEYS`; `enable语音` and `enable_voice` are one switch.
        host: address to listen on.
        port: port to listen on.

    Raises:
        ConfigError: a key is unknown, two keys contradict each other, or a value is impossible.
    """
    values: dict[str, Any] = {"host": host, "port": port}
    for key, value in config.items():
        if key not in CONFIG_KEYS:
            raise ConfigError(f"unknown config key {key!r}; known keys: {', '.join(CONFIG_KEYS)}")
        name = CONFIG_KEYS[key]
        if name == "api_keys":
            value = (value,) if isinstance(value, str) else tuple(value)
        if values.get(name, value) != value:
            raise ConfigError(
                f"config key {key!r} is {value!r}, but {name} was already given as {values[name]!r}"
            )
        values[name] = value
    return build_settings(**values)


def data_folder(settings: Settings, *, create: bool = False) -> Path:
    """The folder of all state: `data_dir`, else `LOCALGPT_HOME`, else the platform's user data folder.

    Args:
        settings: says `data_dir`.
        create: make it, readable by this user alone (mode 0700).

    Raises:
        ConfigError: it cannot be made.
    """
    folder = settings.data_dir or _default_data_folder()
    if create:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot make the data folder {folder} ({error}); choose another with --data-dir"
            ) from None
    return folder


def _default_data_folder() -> Path:
    if home := os.environ.get("LOCALGPT_HOME"):
        return Path(home)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "localgpt"
