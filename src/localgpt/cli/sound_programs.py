"""Microphone and loudspeaker through the programs that a system has for them."""

from __future__ import annotations

import io
import select
import shutil
import subprocess
import sys
import threading
import wave
from pathlib import Path
from typing import IO, Final

from localgpt.cli.console import note
from localgpt.errors import InputError

__all__ = ["MAX_RECORD_S", "play", "player", "record", "recorder"]

RATE: Final = 16_000  # Hz; 16 bits, one channel
MAX_RECORD_S: Final = 3600.0
_STOP_S: Final = 5.0
_LOOK_S: Final = 0.2  # between two looks at whether the program still records
_FILE: Final = "FILE"

# Each writes bare samples to its standard output until it is ended.
_RECORDERS: Final = (
    ("parecord", "--raw", f"--rate={RATE}", "--channels=1", "--format=s16le"),
    ("arecord", "-q", "-t", "raw", "-f", "S16_LE", "-r", str(RATE), "-c", "1"),
    ("rec", "-q", "-t", "raw", "-r", str(RATE), "-c", "1", "-b", "16", "-e", "signed-integer", "-"),
)
_PLAYERS: Final = (
    ("pw-play", _FILE),
    ("paplay", _FILE),
    ("aplay", "-q", _FILE),
    ("afplay", _FILE),
    ("play", "-q", _FILE),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error", _FILE),
)


def recorder() -> tuple[str, ...]:
    """The command that records.

    Raises:
        InputError: there is none; says what to install.
    """
    return _first(_RECORDERS, "--microphone needs a program that records", "microphone", "arecord")


def player() -> tuple[str, ...]:
    """The command that plays a file.

    Raises:
        InputError: there is none; says what to install.
    """
    return _first(_PLAYERS, "--play needs a program that plays sound", "play", "aplay")


def record(command: tuple[str, ...], seconds: float | None) -> bytes:
    """A recording of the microphone as a WAV file.

    Args:
        command: of `recorder`.
        seconds: its length; None ends with the Enter key, or after an hour.

    Raises:
        InputError: the program could not record.
    """
    limit = round((seconds or MAX_RECORD_S) * RATE) * 2
    samples = bytearray()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    over = threading.Event()
    with process, process.stdout, process.stderr:
        reading = threading.Thread(target=_read, args=(process.stdout, samples, limit, over), daemon=True)
        reading.start()
        try:
            if seconds is None:
                note("Speak; the Enter key ends.")
                _wait_for_enter(over)
            else:
                over.wait()
        finally:
            _end(process)
        reading.join(_STOP_S)
        said = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    if not samples:
        reason = said[-1] if said else "it gave no sound"
        raise InputError(
            f"{command[0]} could not record: {reason}; is there a microphone?", param="microphone"
        )
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(samples[: len(samples) & ~1]))
    return sink.getvalue()


def play(command: tuple[str, ...], path: Path) -> None:
    """Play a file to its end.

    Raises:
        InputError: the program could not.
    """
    filled = [str(path) if part == _FILE else part for part in command]
    done = subprocess.run(filled, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise InputError(
            f"{command[0]} could not play: {said[-1] if said else f'exit status {done.returncode}'}",
            param="play",
        )


def _first(commands: tuple[tuple[str, ...], ...], need: str, param: str, example: str) -> tuple[str, ...]:
    for command in commands:
        if shutil.which(command[0]) is not None:
            return command
    names = ", ".join(command[0] for command in commands)
    raise InputError(f"{need}, and none of {names} is here; install one, such as {example}", param=param)


def _read(source: IO[bytes], samples: bytearray, limit: int, over: threading.Event) -> None:
    while len(samples) < limit and (data := source.read1(min(4096, limit - len(samples)))):  # type: ignore[attr-defined]
        samples += data
    over.set()


def _wait_for_enter(over: threading.Event) -> None:
    """The sound may end first: after an hour, or when the program does."""
    while sys.platform != "win32" and not over.is_set():  # Windows cannot wait for a key and for more
        if select.select([sys.stdin], [], [], _LOOK_S)[0]:
            break
    if not over.is_set():
        sys.stdin.readline()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
