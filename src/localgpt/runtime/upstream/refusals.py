"""What an upstream's failures mean here: its own words in one line, and never a header or a key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from localgpt.errors import BackendError, CapacityError, InputError, LocalGPTError, PromptTooLongError
from localgpt.runtime.upstream.address import Upstream

__all__ = ["broken", "error_of_event", "error_of_status", "unreachable"]

_MAX_WORDS: Final = 500  # characters of the upstream's message
_MAX_WAIT_S: Final = 3600.0
_PATH: Final = re.compile(r"[\w.\[\]-]{1,100}")
_TOO_LONG: Final = "context_length_exceeded"
_OVERLOADED: Final = (429, 503, 529)


def unreachable(upstream: Upstream, why: str) -> BackendError:
    """Nobody answers there."""
    return BackendError(
        f"upstream {upstream.name} at {upstream.host} cannot be reached ({why}); start it, or check its "
        "address"
    )


def broken(upstream: Upstream, what: str) -> BackendError:
    """It answered, but not as a server of this wire does."""
    return BackendError(f"upstream {upstream.name} {what}; ask again, or look into its log")


def error_of_status(
    upstream: Upstream, status: int, headers: Mapping[str, str], body: bytes
) -> LocalGPTError:
    """The error of an answer whose status is not 200.

    Args:
        upstream: who answered.
        status: of the answer.
        headers: of the answer; `Retry-After` alone is looked at.
        body: its beginning.
    """
    if 300 <= status < 400:
        return BackendError(
            f"upstream {upstream.name} redirects to another address, which is not followed; set its base_url "
            "to where it really is"
        )
    if status in (401, 403):  # such messages like to repeat the key
        had = "the key it was given" if upstream.key else "requests without a key"
        return BackendError(
            f"upstream {upstream.name} refuses {had} ({status}); set api_key_env or api_key_file for it"
        )
    return _error(upstream, status, _detail(body), headers.get("retry-after"))


def error_of_event(upstream: Upstream, error: Any) -> LocalGPTError:
    """The error that an upstream sends in the middle of its answer."""
    detail = error if isinstance(error, dict) else {"message": error}
    code = detail.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return _error(upstream, status, detail, None)


def _error(upstream: Upstream, status: int, detail: dict[str, Any], wait: str | None) -> LocalGPTError:
    words = _words(upstream, detail.get("message"))
    said = f"upstream {upstream.name} says ({status}): {words}"
    param = detail.get("param")
    param = param if isinstance(param, str) and _PATH.fullmatch(param) else None
    if detail.get("code") == _TOO_LONG or detail.get("type") == "exceed_context_size_error":
        return PromptTooLongError(said, param=param or "messages")
    if status in _OVERLOADED:
        return CapacityError(said, retry_after_s=_seconds(wait))
    if status == 404:
        return InputError(said, param=param or "model")
    if 400 <= status < 500 and status != 408:
        return InputError(said, param=param)
    return BackendError(said)


def _detail(body: bytes) -> dict[str, Any]:
    """The error in a body, in one of the forms that servers use."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {"message": None}
    error = value.get("error", value) if isinstance(value, dict) else None
    if isinstance(error, dict):
        return error
    return {"message": error if isinstance(error, str) else None}


def _words(upstream: Upstream, message: Any) -> str:
    """The upstream's message in one line that holds neither the key nor what a terminal would obey."""
    if not isinstance(message, str) or not message.strip():
        return "nothing that explains it"
    if upstream.key:
        message = message.replace(upstream.key, "[key]")
    line = " ".join("".join(char if char.isprintable() else " " for char in message).split())
    return line if len(line) <= _MAX_WORDS else line[:_MAX_WORDS] + "..."


def _seconds(wait: str | None) -> float | None:
    try:
        seconds = float(wait or "")
    except ValueError:  # a date, which clocks disagree about
        return None
    return seconds if 0 < seconds <= _MAX_WAIT_S else None
