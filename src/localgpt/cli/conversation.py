"""A conversation at a terminal or from a pipe: what was said, pictures to come, and what may be typed."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from localgpt.cli.console import note, print_json, write_text
from localgpt.cli.inputs import check_text, read_line, read_picture
from localgpt.cli.session import Session, new_id
from localgpt.errors import ImageFormatError, InputError, LocalGPTError
from localgpt.tasks import ChatRequest, ImagePart, Message, SamplingOptions, TextPart

__all__ = ["Conversation", "picture_in", "talk"]

HELP = """\
Write, and press Enter. Also:
  /image FILE [question]  show a picture; pasting or dropping its path does the same
  /new                    forget what was said
  /help                   this list
  /quit                   end; so does Ctrl-D
"""
_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"}


class Conversation:
    """Turns so far, and the pictures that go with the next one.

    Args:
        options: how answers are chosen.
        system: how the model should behave.
    """

    def __init__(self, options: SamplingOptions, *, system: str | None = None) -> None:
        self._options = options
        self._system = [Message.of("system", system)] if system else []
        self._turns: list[Message] = []
        self._pictures: list[ImagePart] = []
        self._source: str | None = None

    def attach(self, picture: ImagePart, *, source: str) -> None:
        """Show a picture with the next thing that is said."""
        self._pictures.append(picture)
        self._source = source if len(self._pictures) == 1 else None

    def forget(self) -> None:
        """Begin anew; pictures that wait are dropped too."""
        self._turns.clear()
        self._pictures.clear()

    def say(self, session: Session, text: str, *, on_text: Callable[[str], None] | None = None) -> str:
        """Say something and return the answer; a turn that fails is not remembered.

        Its pictures wait for the next turn, unless one of them was what failed.

        Args:
            session: the models.
            text: the user's words.
            on_text: called with each piece of the answer.

        Raises:
            LocalGPTError: the words or a picture were refused, or the model failed.
        """
        pictures, self._pictures = self._pictures, []
        turn = Message(role="user", content=(*pictures, TextPart(text=text)))
        messages = (*self._system, *self._turns, turn)
        request = ChatRequest(id=new_id(), messages=messages, options=self._options)
        try:
            answer = session.answer(request, on_text=on_text, source=self._source).text
        except ImageFormatError:
            raise
        except LocalGPTError:
            self._pictures = pictures
            raise
        self._turns += [turn, Message.of("assistant", answer)]
        return answer


def talk(session: Session, conversation: Conversation, *, json: bool) -> None:
    """Read lines until the end of input and answer them.

    Args:
        session: the models.
        conversation: goes on.
        json: write each answer as a line of JSON.

    Raises:
        InputError: a line was refused and nobody sits at the terminal to correct it.
    """
    at_terminal = _sits_at_terminal()
    if at_terminal:
        note("write, and press Enter; /help lists what else can be typed, Ctrl-D ends")
        _edit_lines()
    while (line := _read_line(at_terminal)) is not None:
        try:
            if not _answer(session, conversation, line, json=json):
                return
        except InputError as error:
            if not at_terminal:
                raise
            note(str(error))


def picture_in(line: str) -> tuple[Path, str] | None:
    """The picture file a line begins with and the words behind it, or None.

    Understands what terminals paste or drop: a bare path, quotes, escaped blanks, a file: address.
    """
    for path, rest in ((line, ""), *_first_word(line)):
        name = unquote(path.removeprefix("file://")) if path.startswith("file://") else path
        candidate = Path(name)
        if candidate.suffix.lower() in _SUFFIXES and _is_file(candidate):
            return candidate, rest
    return None


def _answer(session: Session, conversation: Conversation, line: str, *, json: bool) -> bool:
    """Do what a line asks for; False when it asks for the end."""
    line = line.strip()
    if not line:
        return True
    check_text(line, what="prompt")
    words = _show_picture(conversation, line)
    if words is None:
        command = line.split()[0] if line.startswith("/") else ""
        if command in ("/quit", "/exit"):
            return False
        if command == "/new":
            conversation.forget()
            note("a new conversation")
            return True
        if command == "/help":
            sys.stderr.write(HELP)
            return True
        if command:
            raise InputError(f"{command} is not known; /help lists what can be typed")
        words = line
    if not words:
        return True
    if json:
        print_json({"generated_text": conversation.say(session, words)})
        return True
    conversation.say(session, words, on_text=lambda piece: write_text(piece, end=""))
    write_text("")
    return True


def _show_picture(conversation: Conversation, line: str) -> str | None:
    """Attach the picture a line names and return the words behind it; None when it names none."""
    asked = line.startswith("/image")
    found = picture_in(line.removeprefix("/image").strip() if asked else line)
    if found is None:
        if not asked:
            return None
        name = line.removeprefix("/image").strip()
        if not name:
            raise InputError("/image needs a file; write /image FILE")
        found = Path(name), ""
    path, words = found
    conversation.attach(read_picture(path), source=str(path))
    if not words:
        note(f"{path.name} goes with what you say next")
    return words


def _first_word(line: str) -> list[tuple[str, str]]:
    """A shell's first word of a line, and the rest of the line."""
    stream = io.StringIO(line)
    lexer = shlex.shlex(stream, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        word = lexer.get_token()
    except ValueError:  # an open quote
        return []
    return [] if word is None else [(word, stream.read().strip())]


def _is_file(path: Path) -> bool:
    try:
        return path.expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # far too long, or no such home: just words
        return False


def _sits_at_terminal() -> bool:
    return sys.stdin.isatty()


def _read_line(at_terminal: bool) -> str | None:
    """The next line without its end, None at the end of input."""
    if at_terminal:
        try:
            return input("> ")
        except EOFError:
            write_text("")
            return None
    return read_line()


def _edit_lines() -> None:
    """Arrow keys and history, where Python has them."""
    try:
        import readline  # noqa: F401 - works by being imported
    except ImportError:
        return
