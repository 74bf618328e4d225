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

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from localgpt.errors import ConfigError

__all__ = ["CONFIG_KEYS", "PEAKS_FILE", "Settings", "build_settings", "data_folder", "settings_from_config"]

CONFIG_KEYS: Mapping[str, str] = {
    "modelpath": "model",
    "model_path": "model",
    "model": "model",
    "device": "device",
    "max_batch_size": "max_batch_size",
    "memory_budget_mib": "memory_budget_mib",
    "enable语音": "enable_voice",
    "enable_voice": "enable_voice",
    "fp16": "fp16",
    "use_cache": "use_cache",
    "data_dir": "data_dir",
    "api_key": "api_keys",
    "log_level": "log_level",
}
"""Keys `start_api` knows, and the setting each one names."""

PEAKS_FILE = "memory-peaks.json"  # in the data folder: what work was measured to take


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
    memory_budget_mib: int | None = Field(
        default=None, ge=1, le=1 << 24
    )  # None: what is free, less a reserve
    enable_voice: bool = True
    data_dir: Path | None = None  # None: see `data_folder`
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    log_prompts: bool = False  # write what is asked and answered into the log; off, because it is private

    # The gateway: what is let in, and for how long.
    allowed_hosts: tuple[str, ...] = ()  # further names, without port, that a loopback server answers to
    max_queue: int = Field(default=64, ge=0, le=100_000)  # waiting requests; one more is told to come back
    request_timeout_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)  # arrival to last byte
    heartbeat_s: float = Field(default=15.0, gt=0, allow_inf_nan=False)  # of a stream that has nothing to say
    drain_s: float = Field(default=1.0, ge=0, allow_inf_nan=False)  # that answers under way get at a stop
    max_body_mib: int = Field(default=64, ge=1, le=4096)
    max_connections: int = Field(default=512, ge=1, le=100_000)  # one more is told to come back
    read_timeout_s: float = Field(default=10.0, gt=0, allow_inf_nan=False)  # for headers, and a body's begin
    write_timeout_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)  # of a client that reads nothing
    trusted_proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-* headers are believed
    tls_cert: Path | None = None  # PEM files; both or none
    tls_key: Path | None = None
    tls_self_signed: bool = False  # make a certificate in the data folder, for microphones on a local network

    # The store: conversations, keys and settings.
    database_url: str | None = None  # None: SQLite in the data folder; postgresql+asyncpg://... is known too
    encrypt: bool = True  # content at rest
    passphrase: SecretStr | None = None  # opens the store instead of the key file; LOCALGPT_PASSPHRASE
    use_keyring: bool = False  # keep the store's key with the operating system instead of a file
    retention_days: int | None = Field(default=None, ge=1)  # conversations older than that are deleted

    # Model names of other services that are answered by a model here; see server/aliases.py.
    model_aliases: dict[str, str] | None = None  # None: the default table


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
