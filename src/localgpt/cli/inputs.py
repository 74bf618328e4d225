"""What a user hands over: prompts as arguments or on standard input, pictures as files."""

from __future__ import annotations

import sys
from pathlib import Path

from localgpt.errors import ImageFormatError, InputError, PromptTooLongError
from localgpt.tasks import ImagePart
from localgpt.units import MIB, format_bytes

__all__ = ["check_text", "read_line", "read_picture", "read_text"]

MAX_TEXT_BYTES = 16 * MIB
MAX_PICTURE_BYTES = 256 * MIB
STDIN = "-"


def read_text(text: str, *, what: str) -> str:
    """A prompt or a question as it was given, or from standard input when it is "-".

    Args:
        text: the argument.
        what: its name in errors.

    Raises:
        InputError: it is empty or not text.
        PromptTooLongError: standard input has far more than any model could read.
    """
    try:
        if text == STDIN:
            data = sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)
            if len(data) > MAX_TEXT_BYTES:
                raise _too_long(what)
            text = data.decode("utf-8-sig")
    except UnicodeError:
        raise _not_text(what) from None
    check_text(text, what=what)
    return text


def read_line() -> str | None:
    """The next line of standard input, None at its end.

    Raises:
        InputError: it is not text, or far too long.
    """
    data = sys.stdin.buffer.readline(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise _too_long("prompt")
    try:
        return data.decode() if data else None
    except UnicodeError:
        raise _not_text("prompt") from None


def check_text(text: str, *, what: str) -> None:
    """Refuse a text that says nothing.

    Raises:
        InputError: it is empty or not text.
    """
    try:
        text.encode()  # arguments that are no UTF-8 arrive as lone surrogates
    except UnicodeError:
        raise _not_text(what) from None
    if not text.strip():
        raise InputError(f"the {what} is empty; expected some words", param=what)


def read_picture(path: Path) -> ImagePart:
    """The bytes of a picture file, or of standard input for "-".

    Raises:
        InputError: it cannot be read.
        ImageFormatError: it is far larger than a picture.
    """
    try:
        if str(path) == STDIN:
            data = sys.stdin.buffer.read(MAX_PICTURE_BYTES + 1)
        else:
            with path.expanduser().open("rb") as file:
                data = file.read(MAX_PICTURE_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:  # unreadable, no such home, impossible name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read the picture {path}: {reason}", param="image") from None
    if len(data) > MAX_PICTURE_BYTES:
        raise ImageFormatError(
            f"{path} has more than {format_bytes(MAX_PICTURE_BYTES)}; expected a picture", param="image"
        )
    return ImagePart(data=data)


def _not_text(what: str) -> InputError:
    return InputError(f"the {what} is not UTF-8 text; save it as UTF-8 first", param=what)


def _too_long(what: str) -> PromptTooLongError:
    return PromptTooLongError(
        f"the {what} has more than {format_bytes(MAX_TEXT_BYTES)}; shorten it", param=what
    )
