"""Settings of one process, and the folder all state lives in.

Values come from arguments first, then from the environment (`LOCALGPT_PORT=9000`; a list is `A,B` or JSON, a
table JSON or a variable for each entry, `LOCALGPT_UPSTREAMS__ollama__BASE_URL=...`), then from the defaults
here. Nothing is read and no folder is made when this module is imported.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from localgpt.errors import ConfigError

__all__ = [
    "ANSWERS_FOLDER",
    "CONFIG_KEYS",
    "PEAKS_FILE",
    "Settings",
    "UpstreamSettings",
    "build_settings",
    "data_folder",
    "settings_from_config",
]

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
    "cpu_kernel": "cpu_kernel",
    "quantize": "quantize",
    "fast": "fast",
    "use_cache": "use_cache",
    "prompt_cache_mib": "prompt_cache_mib",
    "model_process": "model_process",
    "data_dir": "data_dir",
    "api_key": "api_keys",
    "log_level": "log_level",
    "allow_pull": "allow_pull",
    "upstreams": "upstreams",
}
"""Keys `start_api` knows, and the setting each one names."""

ANSWERS_FOLDER = "answers"  # in the data folder: what commands with --use-cache answered
PEAKS_FILE = "memory-peaks.json"  # in the data folder: what work was measured to take
_UPSTREAM_FIELDS = "LOCALGPT_UPSTREAMS__"
_SECRETS = (
    "api_keys",
    "database_url",
    "passphrase",
    "upstreams",
)  # never told, not even where they are wrong


class UpstreamSettings(BaseModel):
    """Another server whose models are asked by `upstream:NAME/MODEL`; see `localgpt.runtime.upstream`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True
    )

    base_url: str  # up to and including the version: http://127.0.0.1:11434/v1
    kind: Literal["openai", "ollama", "llama.cpp", "vllm", "localgpt"] = "openai"  # what it understands
    api_key_env: str | None = None  # the variable that holds its key
    api_key_file: Path | None = None  # or the file
    ca_file: Path | None = None  # certificates (PEM) to believe instead of the well-known ones
    allow_remote: bool = False  # it may be another machine, and what is asked may go there


class Settings(BaseSettings):
    """What a server or a command needs to know; unknown names are errors."""

    model_config = SettingsConfigDict(
        env_prefix="LOCALGPT_",
        env_nested_delimiter="__",
        enable_decoding=False,  # lists and tables are read below, which can say what is wrong with them
        extra="forbid",
        frozen=True,
        str_strip_whitespace=True,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)  # 0 lets the system choose
    api_keys: tuple[str, ...] = Field(default=(), repr=False)  # any of them opens the server; see `access`
    model: str | None = None  # folder, file, or name of a pulled model; None is the embedded family
    device: str = "auto"
    fp16: bool = False
    quantize: Literal["auto", "none", "int8", "int4"] = "auto"  # weights of open models; auto: what fits
    fast: Literal["auto", "off", "exact", "compiled", "max"] = (
        "auto"  # of open models; see `runtime.open.base`
    )
    use_cache: bool = False  # answer the same question quicker the next time
    cpu_kernel: Literal["auto", "off"] = "auto"  # off: decode on the CPU in torch, not in our own kernel
    prompt_cache_mib: int = Field(default=256, ge=0, le=1 << 24)  # of prompts read before; 0 keeps none
    max_batch_size: int = Field(default=4, ge=1, le=64)
    memory_budget_mib: int | None = Field(
        default=None, ge=1, le=1 << 24
    )  # None: what is free, less a reserve
    model_process: bool = True  # give the models a process of their own, where the system can do that
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
    max_upload_mib: int = Field(default=2048, ge=1, le=1 << 16)  # of a recording, which goes to the disk
    max_connections: int = Field(default=512, ge=1, le=100_000)  # one more is told to come back
    read_timeout_s: float = Field(default=10.0, gt=0, allow_inf_nan=False)  # for headers, and a body's begin
    write_timeout_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)  # of a client that reads nothing
    max_calls: int = Field(default=32, ge=0, le=100_000)  # spoken conversations that are open at once
    call_idle_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)  # of a call that sends nothing
    trusted_proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-* headers are believed
    tls_cert: Path | None = None  # PEM files; both or none
    tls_key: Path | None = None
    tls_self_signed: bool = False  # make a certificate in the data folder, for microphones on a local network

    # The store: conversations, keys and settings.
    database_url: str | None = Field(default=None, repr=False)  # None: SQLite; or postgresql+asyncpg://...
    encrypt: bool = True  # content at rest
    passphrase: SecretStr | None = None  # opens the store instead of the key file; LOCALGPT_PASSPHRASE
    use_keyring: bool = False  # keep the store's key with the operating system instead of a file
    retention_days: int | None = Field(default=None, ge=1)  # conversations older than that are deleted

    # Open models: whether admins may have the server fetch some.
    allow_pull: bool | None = None  # None: where only this machine can ask

    # Pictures that are painted: what may be, and what their files say of where they came from.
    picture_filter: str = "words"  # or off, or package.module:name; see `runtime.picture_filter`
    picture_filter_words: Path | None = None  # what shall not be painted, too: a word or phrase a line
    picture_labels: bool = True  # say in every file that it was generated; see `media.provenance.label`
    picture_producer: str = Field(default="LocalGPT", min_length=1, max_length=256)  # named in that label

    # Other servers: their models are called upstream:NAME/MODEL.
    upstreams: dict[str, UpstreamSettings] = Field(default_factory=dict)

    # Model names of other services that are answered by a model here; see server/aliases.py.
    model_aliases: dict[str, str] | None = None  # None: the default table

    @field_validator("api_keys", "allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _read_list(cls, value: Any) -> Any:
        return _as_list(value) if isinstance(value, str) else value

    @field_validator("model_aliases", mode="before")
    @classmethod
    def _read_table(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise PydanticCustomError("table", 'expected JSON such as {"gpt-4o": "MODEL"}') from None

    @field_validator("upstreams", mode="before")
    @classmethod
    def _read_upstreams(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if any(name.upper().startswith(_UPSTREAM_FIELDS) for name in os.environ):  # they would be passed over
            raise PydanticCustomError(
                "twice", "it is set as JSON and field by field (LOCALGPT_UPSTREAMS__...); unset one of them"
            )
        try:
            return json.loads(value)
        except ValueError:
            raise PydanticCustomError(
                "table", 'expected JSON such as {"ollama": {"base_url": "http://127.0.0.1:11434/v1"}}'
            ) from None

    @field_validator("api_keys")
    @classmethod
    def _refuse_empty_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if not all(keys):  # stripped before
            raise PydanticCustomError(
                "empty_key", "a key is empty, which keeps nobody out; leave it out, or give a long random one"
            )
        return keys

    @field_validator("allowed_hosts", "trusted_proxies")
    @classmethod
    def _refuse_empty_entries(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        if not all(entries):
            raise PydanticCustomError("empty_entry", "an entry is empty; leave it out")
        return entries

    @field_validator("passphrase")
    @classmethod
    def _refuse_empty_passphrase(cls, words: SecretStr | None) -> SecretStr | None:
        if words is not None and not words.get_secret_value().strip():
            raise PydanticCustomError(
                "empty_passphrase", "it is empty; choose several words, or leave it unset"
            )
        return words


def build_settings(**values: Any) -> Settings:
    """Settings of the given values, the environment and the defaults.

    Raises:
        ConfigError: a name is unknown or a value is impossible; says which, what was got, what is expected.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        raise ConfigError(_told(error.errors()[0])) from None


def _as_list(text: str) -> list[str]:
    """`a,b` or `["a", "b"]`, as variables of the environment hold lists."""
    if not text.lstrip().startswith(("[", "{", '"', "'")):
        return text.split(",")
    try:
        entries = json.loads(text)
    except ValueError:
        entries = None
    if not (isinstance(entries, list) and all(isinstance(entry, str) for entry in entries)):
        raise PydanticCustomError("list", 'expected entries as in A,B without quotes, or as in ["A", "B"]')
    return entries


def _told(error: ErrorDetails) -> str:
    """One error of pydantic's in one line, without the value of a secret."""
    name = ".".join(str(part) for part in error["loc"]) or "settings"
    if error["type"] == "extra_forbidden":
        fields = UpstreamSettings.model_fields if name.startswith("upstreams.") else Settings.model_fields
        return f"unknown setting {name!r}; known settings: {', '.join(sorted(fields))}"
    if error["type"] == "missing":
        return f"setting {name} is missing; give it a value"
    expected = f"{error['msg'][:1].lower()}{error['msg'][1:]}"
    if name.split(".")[0] in _SECRETS:
        return f"setting {name} cannot be used: {expected}"
    return f"setting {name} is {error['input']!r}; {expected}"


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
            value = _as_keys(value)
        if values.get(name, value) != value:
            raise ConfigError(
                f"config key {key!r} is {value!r}, but {name} was already given as {values[name]!r}"
            )
        values[name] = value
    return build_settings(**values)


def _as_keys(value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple):
        return tuple(value)
    raise ConfigError(
        f"config key 'api_key' is a {type(value).__name__}; expected a key or a list of keys, or leave it out"
    )


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
