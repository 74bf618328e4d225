"""Which servers are upstreams, what each of them understands, and what it may be told.

The address is the operator's, never a caller's, and it is taken as it is written: an address that is not of
this machine by its own spelling needs `allow_remote`, whatever its name stands for at the moment.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol
from urllib.parse import SplitResult, urlsplit

import httpx

from localgpt.errors import ConfigError

__all__ = ["DIALECTS", "Dialect", "Upstream", "UpstreamEntry", "UpstreamKind", "read_upstreams"]

UpstreamKind = Literal["openai", "ollama", "llama.cpp", "vllm", "localgpt"]
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_KEY = re.compile(r"[\x21-\x7e]+")
_MAX_KEY_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What a kind of server honours beyond what all of them do; the rest is refused, since some ignore it."""

    top_k: bool = False
    repetition_penalty: str | None = None  # what it calls it
    logit_bias: bool = True
    logprobs: bool = True
    forces_tools: bool = True  # `tool_choice: required`
    single_calls: bool = True  # `parallel_tool_calls: false`
    embeds_pictures: bool = False


DIALECTS: Final[dict[UpstreamKind, Dialect]] = {
    "openai": Dialect(),
    "ollama": Dialect(logit_bias=False, logprobs=False, forces_tools=False, single_calls=False),
    "llama.cpp": Dialect(top_k=True, repetition_penalty="repeat_penalty"),
    "vllm": Dialect(top_k=True, repetition_penalty="repetition_penalty"),
    "localgpt": Dialect(top_k=True, repetition_penalty="repetition_penalty", embeds_pictures=True),
}
"""As their documentation says it; `openai` is what that wire itself defines, and the default."""


class UpstreamEntry(Protocol):
    """An upstream as an operator writes it down."""

    @property
    def base_url(self) -> str:
        """Address up to and including the version: http://127.0.0.1:11434/v1."""
        ...

    @property
    def kind(self) -> UpstreamKind:
        """What kind of server it is."""
        ...

    @property
    def api_key_env(self) -> str | None:
        """Variable of the environment that holds its key."""
        ...

    @property
    def api_key_file(self) -> Path | None:
        """File that holds its key."""
        ...

    @property
    def ca_file(self) -> Path | None:
        """Certificates to believe instead of the system's (PEM)."""
        ...

    @property
    def allow_remote(self) -> bool:
        """It may be another machine, and what is asked may go there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A checked upstream."""

    name: str
    base_url: str  # without a slash at its end
    kind: UpstreamKind = "openai"
    key: str | None = field(default=None, repr=False)
    is_remote: bool = False  # the address is another machine's
    allow_remote: bool = False  # what is asked may leave this machine; true of every remote one
    tls: ssl.SSLContext | None = field(default=None, repr=False)  # of https addresses

    @property
    def host(self) -> str:
        """The name people know it by."""
        return urlsplit(self.base_url).netloc

    @property
    def dialect(self) -> Dialect:
        """What it understands."""
        return DIALECTS[self.kind]

    @property
    def warning(self) -> str | None:
        """What everybody should know who uses it; None where nothing leaves this machine."""
        if not self.allow_remote:
            return None
        if not self.is_remote:
            return f"what is asked of upstream:{self.name} may leave this machine, by way of {self.host}"
        unsealed = "" if self.tls is not None else ", unencrypted"
        return f"what is asked of upstream:{self.name} leaves this machine, to {self.host}{unsealed}"


def read_upstreams(
    entries: Mapping[str, UpstreamEntry], environment: Mapping[str, str]
) -> tuple[Upstream, ...]:
    """Check what was written down, and fetch the keys it points at.

    Args:
        entries: by name.
        environment: where `api_key_env` is looked up.

    Raises:
        ConfigError: a name, an address or a key cannot be used, or an address is not of this machine and
            `allow_remote` is not set; keys are not repeated.
    """
    return tuple(_read(name, entry, environment) for name, entry in entries.items())


def _read(name: str, entry: UpstreamEntry, environment: Mapping[str, str]) -> Upstream:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"the upstream name {name!r} cannot be used; expected up to 32 small letters, digits, - and _"
        )
    base_url = entry.base_url.strip().rstrip("/")
    parts = _split(name, base_url)
    is_remote = not _is_this_machine(parts.hostname or "")
    if is_remote and not entry.allow_remote:
        raise ConfigError(
            f"upstream {name} is at {parts.netloc}, which is not this machine: what is asked of it would "
            "leave it. Set allow_remote for this upstream if that is meant, or use an address such as "
            "http://127.0.0.1:11434/v1"
        )
    key = _key(name, entry, environment)
    if key and is_remote and parts.scheme == "http":
        raise ConfigError(
            f"the key of upstream {name} would go to {parts.netloc} without encryption; use https, or no key"
        )
    return Upstream(
        name=name,
        base_url=base_url,
        kind=entry.kind,
        key=key,
        is_remote=is_remote,
        allow_remote=entry.allow_remote,
        tls=_tls(name, entry.ca_file, parts.scheme),
    )


def _split(name: str, base_url: str) -> SplitResult:
    """The parts of an address. A password in it would be written down, so it is not even repeated."""
    try:
        parts = urlsplit(base_url)
        is_plain = parts.port != 0 and not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        parts, is_plain = SplitResult("", "", "", "", ""), False
    if parts.username or parts.password:
        raise ConfigError(
            f"the address of upstream {name} holds a user or a password; name a key with api_key_env or "
            "api_key_file instead"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
        raise ConfigError(
            f"the address of upstream {name} is {base_url!r}; expected one such as http://127.0.0.1:11434/v1"
        )
    return parts


def _is_this_machine(host: str) -> bool:
    """Whether a host is this machine by its spelling; names are not looked up, since that may change."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _key(name: str, entry: UpstreamEntry, environment: Mapping[str, str]) -> str | None:
    if entry.api_key_env is not None and entry.api_key_file is not None:
        raise ConfigError(f"upstream {name} has both api_key_env and api_key_file; leave one out")
    if entry.api_key_env is not None:
        source = f"the variable {entry.api_key_env}"
        key = environment.get(entry.api_key_env, "").strip()
    elif entry.api_key_file is not None:
        source = f"the file {entry.api_key_file}"
        try:
            with entry.api_key_file.expanduser().open("rb") as file:
                key = file.read(_MAX_KEY_BYTES).decode("ascii", "replace").strip()
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"cannot read the key of upstream {name} from {source} ({reason})") from None
    else:
        return None
    if not _KEY.fullmatch(key):
        raise ConfigError(f"{source} holds no key for upstream {name}; expected one word")
    return key


def _tls(name: str, ca_file: Path | None, scheme: str) -> ssl.SSLContext | None:
    if scheme != "https":
        if ca_file is not None:
            raise ConfigError(f"upstream {name} has a ca_file but no https address; leave one out")
        return None
    try:
        if ca_file is None:
            return httpx.create_ssl_context(trust_env=False)
        return ssl.create_default_context(cafile=str(ca_file.expanduser()))
    except (OSError, RuntimeError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"cannot read the certificates of upstream {name} from {ca_file} ({error}); expected PEM"
        ) from None
