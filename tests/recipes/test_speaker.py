"""The voice's recipe in ten steps, its data, and the alignment beside brute force."""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from localgpt.training.alignment import frame_sounds, gaussian_scores, monotonic_alignment
from recipes.common import RunOptions
from recipes.registry import run_recipe
from recipes.speaker import SpeakerRun, plain_weights
from recipes.voice_data import prepare
from recipes.voice_data.compose import PAUSE, cover, cut_clauses, wordings
from recipes.voice_data.packs import Packer, read_clips, read_rows, write_rows
from recipes.voice_network import VoiceNetwork
from recipes.voices import Clip, RowShape, Utterances, compose, to_rate

RATE = 16_000


def tone(seconds: float, hz: float, rate: int = RATE) -> NDArray[np.int16]:
    at = np.arange(round(seconds * rate)) / rate
    return (12_000 * np.sin(2 * np.pi * hz * at)).astype(np.int16)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    packer = Packer(folder / "voice", shard_bytes=40_000)
    for number in range(4):
        said = {"text": f"word {number}", "symbols": "wˈɝd"}
        packer.add(tone(1.0, 200 + 40 * number), speaker="en", rate=RATE, **said)
    for number, (word, symbols) in enumerate({"你好": "ㄋㄧˊㄏㄠˇ", "世界": "ㄕˋㄐㄧㄝˋ"}.items()):
        packer.add(
            tone(0.3, 300 + 50 * number, 24_000), speaker="zh", rate=24_000, text=word, symbols=symbols
        )
    packer.finish()
    rows = [
        {"text": "你好，世界", "words": ["你好", PAUSE, "世界"]},
        {"text": "世界你", "words": ["世界", "你"]},
    ]
    write_rows(folder / "voice" / "sentences.jsonl.xz", rows)
    return folder


def test_ten_steps_and_going_on(data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": data, "size": "tiny", "device": "cpu"}
    figures = run_recipe("speaker", RunOptions(out=tmp_path / "one", steps=10, **options))
    assert figures["steps"] == 10 and all(math.isfinite(value) for value in figures.values())
    assert {"mel_loss", "divergence_loss", "duration_loss", "critics_loss", "likeness_loss"} <= figures.keys()
    lines = [json.loads(line) for line in (tmp_path / "one" / "log.jsonl").read_text().splitlines()]
    assert lines[0]["utterances"] == 5  # the sentence with a word that was never recorded is left out
    description = json.loads((tmp_path / "one" / "speaker.json").read_text(encoding="utf-8"))
    assert [voice["name"] for voice in description["voices"]] == ["en", "zh"]
    family = tmp_path / "family"
    exported = run_recipe("speaker_export", RunOptions(data=data, init=tmp_path / "one", out=family))
    assert exported["speaker_bytes"] > 0 and exported["speaker_worst_relative_error"] < 0.02
    card = (family / "speaker" / "README.md").read_text(encoding="utf-8")
    for heading in ("## Data", "## Licence", "## Recipe", "## Figures", "## Limits", "up to 12 kHz"):
        assert heading in card
    assert not any("_fast" in name or "decode." in name for name in load_state(tmp_path / "one")["network"])
    again = run_recipe("speaker", RunOptions(out=tmp_path / "two", init=tmp_path / "one", steps=2, **options))
    assert again["steps"] == 2
    state = load_state(tmp_path / "two")
    assert state["num_done"] == 12 and state["is_judged"]
    assert again["critics_loss"] > 0  # they are heard from the first step on, as before


def load_state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "latest.pt", weights_only=True)
    return state


def test_minutes_are_those_of_all_parts(data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": data, "size": "tiny", "device": "cpu", "minutes": 0.05}
    first = run_recipe("speaker", RunOptions(out=tmp_path / "one", until=0.0, **options))
    assert first["steps"] == 0 and first["minutes_in_all"] == 0.0  # its time was over at once
    second = run_recipe("speaker", RunOptions(out=tmp_path / "two", init=tmp_path / "one", **options))
    assert second["steps"] > 0 and second["minutes_in_all"] >= 0.05
    third = run_recipe("speaker", RunOptions(out=tmp_path / "three", init=tmp_path / "two", **options))
    assert third["steps"] == 0 and third["steps_in_all"] == second["steps"]


def test_a_run_is_repeatable(data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": data, "size": "tiny", "device": "cpu", "steps": 3}
    one, two = (run_recipe("speaker", RunOptions(out=tmp_path / name, **options)) for name in ("one", "two"))
    assert one == two
    files = [(tmp_path / name / "speaker.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_the_network_learns_the_sound(data: Path) -> None:
    """Fifty steps of spectral distance on the same rows bring it down clearly."""
    run = SpeakerRun.of_size("tiny")
    utterances = Utterances.load(data / "voice", run.shape, device="cpu")
    torch.manual_seed(0)
    network = VoiceNetwork(run.config, slice_frames=run.slice_frames)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    from localgpt.training.critics import mel_loss

    generator, losses = torch.Generator().manual_seed(0), []
    for _ in range(50):
        learned = network(utterances.rows(torch.arange(4)), dtype=torch.float32, generator=generator)
        loss = mel_loss(learned.made, learned.real, sample_rate=run.shape.sample_rate)
        optimizer.zero_grad()
        (loss + 0.1 * learned.divergence + learned.duration).backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


@torch.no_grad()
def test_our_way_through_the_network_is_the_librarys() -> None:
    config = SpeakerRun.of_size("tiny").config
    network = VoiceNetwork(config, slice_frames=4).eval()
    for flow in network.vits.flow.flows:
        torch.nn.init.normal_(flow.conv_post.weight, 0.0, 0.3)
    spectrum, mask = torch.rand(2, 257, 20), torch.ones(2, 1, 20)
    mask[1, :, 15:] = 0
    speaker, noise = torch.randn(2, 8, 1), torch.zeros(2, 16, 20)
    latents, log_scales, moved = network._posterior_and_flow(spectrum, mask, speaker, noise)
    _, means, theirs = network.vits.posterior_encoder(spectrum, mask, speaker)
    assert torch.allclose(latents, means, atol=1e-6) and torch.allclose(log_scales, theirs, atol=1e-6)
    assert torch.allclose(moved, network.vits.flow(latents, mask, speaker), atol=1e-6)
    assert torch.allclose(network.vits.flow(moved, mask, speaker, reverse=True), latents, atol=1e-5)


def test_kept_weights_are_plain(data: Path) -> None:
    network = VoiceNetwork(SpeakerRun.of_size("tiny").config, slice_frames=4)
    state = plain_weights(network.vits)
    assert not any("parametrizations" in name or "posterior" in name for name in state)
    layer = network.vits.flow.flows[0].wavenet.in_layers[0]
    assert torch.allclose(state["flow.flows.0.wavenet.in_layers.0.weight"], layer.weight, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_alignment_is_the_best_of_all(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, 5, 9, generator=generator)
    num_sounds, num_frames = torch.tensor([5, 3, 1]), torch.tensor([9, 7, 4])
    found = monotonic_alignment(scores, num_sounds, num_frames)
    for row in range(3):
        sounds, frames = int(num_sounds[row]), int(num_frames[row])
        best = max(splits(sounds, frames), key=lambda split: total(scores[row], split))
        assert found[row, :sounds].tolist() == best
        assert not found[row, sounds:].any()


def splits(sounds: int, frames: int) -> Iterator[list[int]]:
    """All ways to give each sound one frame or more."""
    for cuts in combinations(range(1, frames), sounds - 1):
        edges = [0, *cuts, frames]
        yield [end - begin for begin, end in pairwise(edges)]


def total(scores: torch.Tensor, durations: list[int]) -> float:
    owners = [sound for sound, num in enumerate(durations) for _ in range(num)]
    return sum(float(scores[sound, frame]) for frame, sound in enumerate(owners))


def test_scores_are_log_densities() -> None:
    torch.manual_seed(0)
    latents, means, scales = torch.randn(2, 3, 5), torch.randn(2, 4, 3), 0.3 * torch.randn(2, 4, 3)
    density = torch.distributions.Normal(means[..., None], scales.exp()[..., None])
    wanted = density.log_prob(latents[:, None]).sum(dim=2) + 1.5 * math.log(2 * math.pi)
    assert torch.allclose(gaussian_scores(latents, means, scales), wanted, atol=1e-5)


def test_frames_know_their_sound() -> None:
    assert frame_sounds(torch.tensor([[2, 1, 3]]), 8).tolist() == [[0, 0, 1, 2, 2, 2, 2, 2]]


def test_words_stay_in_their_clips() -> None:
    clips = {
        name: Clip(np.ones(4800, dtype=np.float32), symbols) for name, symbols in (("a", "ㄚˉ"), ("b", "ㄅˉ"))
    }
    row = compose(["a", PAUSE, "b"], clips, RowShape(hop=480), 1, np.random.default_rng(0))
    assert row is not None and len(row.sound_ids) == len(row.begins) == len(row.ends) == 2 * 5 + 1
    assert row.begins[1] == 0 and row.ends[1] == 10  # the first word's sounds end with its clip
    second = row.begins[7]
    assert second * 480 <= row.num_frames * 480 - 4800 <= (second + 1) * 480
    assert all(begin < end <= row.num_frames for begin, end in zip(row.begins, row.ends, strict=True))
    short = {"a": Clip(np.ones(480, dtype=np.float32), "ㄚˉㄚˉㄚˉ")}
    assert compose(["a"], short, RowShape(hop=480), 1, np.random.default_rng(0)) is None


def test_packs_keep_the_sound(tmp_path: Path) -> None:
    waveforms = [tone(0.1 + 0.1 * n, 300) for n in range(5)]
    packer = Packer(tmp_path, shard_bytes=6000)
    for number, waveform in enumerate(waveforms):
        packer.add(waveform, text=str(number))
    packer.finish()
    assert len(list(tmp_path.glob("voice-*.xz"))) > 1
    found = list(read_clips(tmp_path))
    assert [row["text"] for row, _ in found] == list("01234")
    for (_, got), wanted in zip(found, waveforms, strict=True):
        assert len(got) == len(wanted) and np.abs(got.astype(int) - wanted).max() <= 8


def test_rates_are_changed_without_new_sound() -> None:
    waveform = np.sin(2 * np.pi * 440 * np.arange(1600) / 16_000).astype(np.float32)
    higher = to_rate(waveform, 16_000, 48_000, "cpu")
    wanted = np.sin(2 * np.pi * 440 * np.arange(4800) / 48_000)
    assert len(higher) == 4800 and np.abs(higher - wanted).max() < 1e-3
    assert np.abs(np.fft.rfft(higher))[801:].max() < 1e-2


def test_sentences_of_recorded_words() -> None:
    words = {"今天", "天", "天气", "很", "好"}
    assert cover("今天天气很好", words) == ["今天", "天气", "很", "好"]
    assert cover("今天，很好，", words) == ["今天", PAUSE, "很", "好"]
    assert cover("明天很好", words) is None
    assert cut_clauses("今天好。Hello！天气很好？，好") == ["今天好", "天气很好"]
    found = wordings(["今天很好。好。今天很好。天气很好"], words, least=2, most=5, num=2)
    assert [text for text, _ in found] == ["今天很好", "天气很好"]


def test_prepare_packs_recordings_and_a_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    import soundfile

    def write_set(name: str, rows: list[dict[str, Any]], rate: int) -> None:
        blob = b""
        for number, row in enumerate(rows):
            sink = io.BytesIO()
            quiet = np.zeros(rate // 5, dtype=np.int16)
            soundfile.write(sink, np.concatenate([quiet, tone(0.5, 300, rate), quiet]), rate, format="FLAC")
            row |= {
                "file": f"{number}.flac",
                "split": "train",
                "offset": len(blob),
                "bytes": len(sink.getvalue()),
            }
            blob += sink.getvalue()
        (tmp_path / "speech" / f"{name}.bin").write_bytes(blob)
        write_rows(tmp_path / "speech" / f"{name}.jsonl.xz", rows)

    for name in ("speech", "text"):
        (tmp_path / name).mkdir()
    write_set("hsk_words_zh", [{"text": word} for word in ("你好", "世界", "大家", "好")], 24_000)
    write_set("syllables_zh", [{"text": text} for text in ("ma1", "lv4", "_hm1", "er2", "zhi3")], 48_000)
    write_set("philipp_en", [{"text": "Printing is an art."}], 48_000)
    pairs = [{"en": f"This is the sentence number {n}.", "zh": "大家好，你好世界。"} for n in range(200)]
    write_rows(tmp_path / "text" / "bilingual_en_zh.jsonl.xz", pairs)
    write_rows(tmp_path / "text" / "pretrain_zh.jsonl.xz", [{"text": "世界你好大家。"}])
    monkeypatch.setattr(prepare, "find_teacher", lambda: "flite")
    monkeypatch.setattr(prepare, "speak_with", lambda teacher, texts: [(tone(2.0, 250), RATE) for _ in texts])
    figures = prepare.prepare_voice(tmp_path, tmp_path / "out", prepare.Wishes(teacher_minutes=1.0))
    assert set(figures["seconds"]) == set(prepare.SPEAKERS) and figures["sentences"] == 2
    assert figures["seconds"]["en"] >= 60
    clips = {
        (row["speaker"], row["text"]): (row, samples) for row, samples in read_clips(tmp_path / "out/voice")
    }
    row, samples = clips["zh", "你好"]
    assert row["symbols"] == "ㄋㄧˊㄏㄠˇ" and len(samples) / row["rate"] == pytest.approx(0.56, abs=0.02)
    assert clips["zh_syllables", "lv4"][0]["symbols"] == "ㄌㄩˋ" and ("zh_syllables", "_hm1") not in clips
    held_out = read_rows(tmp_path / "out/voice/heldout.jsonl.xz")
    said = {text for speaker, text in clips if speaker == "en"}
    assert held_out and not said & {row["text"] for row in held_out}
    assert lzma.decompress((tmp_path / "out/voice/clips.jsonl.xz").read_bytes())
