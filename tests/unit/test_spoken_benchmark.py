"""The speaking part of the speech figures on a tiny voice, and its parts beside what they should find."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.speech import spoken
from benchmarks.speech.waveforms import bandwidth_hz, is_clipped, is_cut_off
from recipes.voice_data.packs import write_rows
from tests.tiny_speaker import write_member

RATE = 16_000


def tone(seconds: float, hz: float, peak: float = 0.5) -> Any:
    return (peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_error_rates() -> None:
    assert spoken.error_rate([["a", "b", "c", "d"]], [["a", "x", "d"]]) == 0.5
    assert spoken.error_rate([["a"], ["b"]], [["a"], []]) == 0.5
    assert spoken.error_rate([["a"]], [["a", "b", "c"]]) == 2.0
    assert spoken.units_of("I'm 21, OK?", "en") == ["i'm", "twenty", "one", "ok"]
    assert spoken.units_of("我有2只猫。", "zh") == list("我有两只猫")


def test_clipping_and_cut_ends() -> None:
    assert not is_clipped(tone(1, 300)) and is_clipped(np.clip(tone(1, 300, 3.0), -1, 1))
    faded = tone(1, 300)
    faded[-2000:] *= np.linspace(1, 0, 2000)
    assert is_cut_off(tone(1, 300), RATE) and not is_cut_off(faded, RATE)
    assert bandwidth_hz(tone(1, 3000), RATE) == pytest.approx(3000, abs=50)


def test_all_figures(family_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(family_folder, folder)
    write_member(folder)
    (tmp_path / "voice").mkdir()
    sentences = [{"language": "en", "text": "A red cat."}, {"language": "zh", "text": "一只红猫。"}]
    write_rows(tmp_path / "voice" / "heldout.jsonl.xz", sentences)
    monkeypatch.setattr(spoken, "_sphinx", lambda: lambda sound, language: "a red hat")
    monkeypatch.setattr(spoken, "find_teacher", lambda: "flite")
    said = (tone(1.0, 200) * 2**15).astype(np.int16)
    monkeypatch.setattr(spoken, "speak_with", lambda teacher, texts: [(said, RATE) for _ in texts])
    found = spoken.measure_spoken(spoken.Measured(data=tmp_path, model=str(folder), save=tmp_path / "saved"))
    assert found["en"]["errors"] == found["en"]["errors_teacher_flite"] == {"pocketsphinx": 0.3333}
    assert found["zh"]["errors"] == {}  # nobody could read it
    for language in ("en", "zh"):
        assert found[language]["sentences"] == 1 and found[language]["clipped"] == 0
        assert found[language]["real_time_factor"] > 0 and found[language]["bandwidth_hz"] > 0
        assert (tmp_path / "saved" / language / "000.wav").is_file()
    assert 0 < found["first_piece_ms"]["p50"] <= found["first_piece_ms"]["max"]
