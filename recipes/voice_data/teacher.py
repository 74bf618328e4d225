"""Speech of installed synthesisers that may teach ours: festival's slt in 32 kHz, else flite's in 16.

Debian's `festival` with `festvox-us-slt-hts`: Carnegie Mellon University's and Nagoya Institute of
Technology's voice, free for any use with its notice kept (EST-2000 and EST-2003 of Debian's copyright file;
three-clause BSD parts). Debian's `flite`: the same kind of licence.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TEACHERS", "find_teacher", "speak_with"]

TEACHERS = ("festival", "flite")
_VOICE = "voice_cmu_us_slt_arctic_hts"
_FESTIVAL_VOICE = Path("/usr/share/festival/voices/us/cmu_us_slt_arctic_hts")
_BATCH = 50


def find_teacher() -> str | None:
    """The best synthesiser that is installed; None where there is none."""
    if shutil.which("festival") and _FESTIVAL_VOICE.exists():
        return "festival"
    return "flite" if shutil.which("flite") else None


def speak_with(
    teacher: str, texts: Sequence[str], *, voice: str = "slt"
) -> list[tuple[NDArray[np.int16], int]]:
    """Each text as (N,) samples and their rate in Hz.

    Args:
        teacher: of `TEACHERS`.
        texts: words and the marks `,.?!` only.
        voice: of flite.
    """
    found: list[tuple[NDArray[np.int16], int]] = []
    with tempfile.TemporaryDirectory() as folder:
        for begin in range(0, len(texts), _BATCH):
            batch = texts[begin : begin + _BATCH]
            paths = [Path(folder) / f"{number}.wav" for number in range(len(batch))]
            if teacher == "festival":
                _festival(batch, paths, Path(folder) / "say.scm")
            else:
                for text, path in zip(batch, paths, strict=True):
                    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
            found += [_read(path) for path in paths]
    return found


def _festival(texts: Sequence[str], paths: Sequence[Path], script: Path) -> None:
    lines = [f"({_VOICE})"]
    for text, path in zip(texts, paths, strict=True):
        plain = text.replace("\\", " ").replace('"', " ")
        lines.append(f'(utt.save.wave (utt.synth (Utterance Text "{plain}")) "{path}")')
    script.write_text("\n".join(lines), encoding="ascii", errors="ignore")
    subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)


def _read(path: Path) -> tuple[NDArray[np.int16], int]:
    import soundfile

    samples: Any
    samples, rate = soundfile.read(path, dtype="int16")
    return samples, rate
