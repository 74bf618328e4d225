"""Which hub is asked, with which token, and what a model there is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from localgpt.errors import ConfigError, OfflineError

__all__ = ["DEFAULT_HUB", "Hub", "check_repo", "check_revision", "hub_of", "split_quant"]

DEFAULT_HUB = "https://huggingface.co"
_HUB_VARIABLES = ("LOCALGPT_HUB", "HF_ENDPOINT")
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_OFFLINE_VARIABLES = ("LOCALGPT_OFFLINE", "HF_HUB_OFFLINE")
_TRUE = ("1", "true", "yes", "on")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_QUANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_REVISION = re.compile(r"[\w][\w./+-]{0,254}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Where models come from."""

    url: str  # without a slash at its end
    token: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """The name people know it by."""
        return urlsplit(self.url).netloc


def hub_of(environment: Mapping[str, str]) -> Hub:
    """The hub and the token that an environment names.

    `LOCALGPT_HUB` goes before `HF_ENDPOINT`, and `HF_TOKEN` before the file in which `hf auth login` keeps
    its token.

    Raises:
        OfflineError: the environment says to stay offline.
        ConfigError: it names no address that can be asked.
    """
    for name in _OFFLINE_VARIABLES:
        if environment.get(name, "").strip().lower() in _TRUE:
            raise OfflineError(f"{name}={environment[name]} says to stay offline; unset it to pull a model")
    variable = next((name for name in _HUB_VARIABLES if environment.get(name, "").strip()), None)
    url = environment[variable].strip().rstrip("/") if variable else DEFAULT_HUB
    parts = _split(url)
    if parts is None:
        raise ConfigError(f"{variable} is {url!r}; expected an address such as {DEFAULT_HUB}")
    token = _token(environment)
    if token and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ConfigError(
            f"a token would go to {url} without encryption; use https, or unset HF_TOKEN for this hub"
        )
    return Hub(url=url, token=token)


def check_repo(name: str) -> str:
    """`name`, which has the form owner/name, or owner/name:QUANT for one GGUF file; QUANT comes in capitals.

    Raises:
        ConfigError: it has another one.
    """
    repo, quant = split_quant(name)
    is_repo = _REPO.fullmatch(repo) and not repo.endswith((".git", ".", "-"))
    if not is_repo or "--" in name or ".." in name or not (quant is None or _QUANT.fullmatch(quant)):
        raise ConfigError(
            f"{name!r} is no model name; expected OWNER/NAME, such as Qwen/Qwen3-0.6B, or OWNER/NAME:QUANT "
            "for a GGUF file, such as Qwen/Qwen3-0.6B-GGUF:Q8_0"
        )
    return repo if quant is None else f"{repo}:{quant.upper()}"


def split_quant(name: str) -> tuple[str, str | None]:
    """The repository of a model's name, and which of its GGUF files is meant; None for no such file."""
    repo, colon, quant = name.partition(":")
    return repo, quant if colon else None


def check_revision(revision: str) -> str:
    """`revision`, which can be a branch, a tag or a commit.

    Raises:
        ConfigError: it cannot.
    """
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision or revision.endswith("/"):
        raise ConfigError(f"{revision!r} is no revision; expected a branch, a tag or a commit")
    return revision


def _split(url: str) -> SplitResult | None:
    """The parts of a hub's address; None if it cannot be one. A password in it would be written down."""
    try:
        parts = urlsplit(url)
        is_plain = parts.port != 0 and not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname and is_plain else None


def _token(environment: Mapping[str, str]) -> str | None:
    for name in _TOKEN_VARIABLES:
        if value := environment.get(name, "").strip():
            return _check_token(value, name)
    try:
        path = _token_file(environment)
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, RuntimeError, UnicodeDecodeError):  # none there, or no home
        return None
    return _check_token(value, str(path)) if value else None


def _token_file(environment: Mapping[str, str]) -> Path:
    if path := environment.get("HF_TOKEN_PATH"):
        return Path(path).expanduser()
    if home := environment.get("HF_HOME"):
        return Path(home).expanduser() / "token"
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "huggingface" / "token"


def _check_token(value: str, source: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ConfigError(f"{source} holds no token; expected one word, such as hf_...")
    return value
