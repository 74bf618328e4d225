"""Open recognisers: the network as transformers runs it, windows of any recording, silence, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor
from transformers.generation.logits_process import (
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)

from localgpt.errors import (
    AudioFormatError,
    CancelledRequestError,
    CheckpointError,
    InputError,
)
from localgpt.media.audio_files import encode_audio
from localgpt.runtime.open import listen as listen_module
from localgpt.runtime.open.base import OpenCheckpoint, kind_of, load_open
from localgpt.runtime.open.listen import Listener
from localgpt.runtime.open.listen_decoding import Decoded, _warp, decode_window, detect_language, encode
from localgpt.runtime.open.listen_tokens import ListenTokens, split_words
from localgpt.runtime.open.listen_windows import pieces_of, repetition
from localgpt.tasks import AudioPart, Event, ListenRequest, ListenResult, Progress, TextDelta
from tests.tiny_media import write_listener

RATE = 16_000


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    loudness = np.repeat(generator.random(round(seconds * 20)), RATE // 20)
    return (0.3 * generator.normal(size=len(loudness)) * loudness).astype(np.float32)


def recording(waveform: NDArray[np.float32]) -> AudioPart:
    return AudioPart(data=encode_audio(waveform, RATE), media_type="audio/wav")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_listener(tmp_path_factory.mktemp("listener") / "whisper")


@pytest.fixture(scope="module")
def listener(folder: Path) -> Listener:
    model = load_open(OpenCheckpoint(folder=folder, id="maker/whisper", kind=kind_of(folder)))
    assert isinstance(model, Listener)
    return model


def asked(**values: Any) -> ListenRequest:
    return ListenRequest(**{"id": "1", "audio": recording(noise(2.5)), "seed": 0, **values})


def listen(listener: Listener, **values: Any) -> tuple[ListenResult, list[Event]]:
    request, events = asked(**values), list[Event]()
    result = listener.answer(request, events.append, lambda: False, listener.sizes(request)[0])
    assert isinstance(result, ListenResult)
    return result, events


def mel_of(listener: Listener, waveform: NDArray[np.float32]) -> torch.Tensor:
    extractor = WhisperFeatureExtractor(feature_size=listener.network.config.num_mel_bins, chunk_length=1)
    made = extractor(waveform, sampling_rate=RATE, return_tensors="pt")
    features: torch.Tensor = made.input_features
    return features


@torch.inference_mode()
def test_the_encoder_is_that_of_transformers(listener: Listener) -> None:
    mel = mel_of(listener, noise(1.0))
    expected = listener.network.model.encoder(mel).last_hidden_state
    assert torch.allclose(encode(listener.network, mel), expected, atol=1e-5)
    assert encode(listener.network, mel[..., :40]).shape == (1, 20, 32)


@pytest.mark.parametrize("seconds", [0.3, 0.9999, 1.0])
@torch.inference_mode()
def test_windows_are_heard_as_transformers_reads_them(listener: Listener, seconds: float) -> None:
    waveform = noise(1.0)[: round(seconds * RATE)]
    expected = encode(listener.network, mel_of(listener, waveform))
    assert torch.allclose(listener.features(waveform, is_padded=True), expected, atol=1e-3)


def oracle(network: Any, mel: torch.Tensor, head: list[int], tokens: ListenTokens, num: int) -> list[int]:
    """Tokens by transformers' own rules and the whole network, without a cache."""
    config, begin = network.generation_config, len(head)
    rules: list[Any] = [
        SuppressTokensLogitsProcessor(config.suppress_tokens),
        SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin),
    ]
    if head[-1] == tokens.no_timestamps:
        times = range(tokens.no_timestamps, network.config.vocab_size)
        rules.append(SuppressTokensLogitsProcessor(list(times)))
    else:
        rules.append(WhisperTimeStampLogitsProcessor(config, begin))
    ids = torch.tensor([head])
    while len(ids[0]) < begin + num:
        scores = network(input_features=mel, decoder_input_ids=ids, use_cache=False).logits[:, -1].float()
        for rule in rules:
            scores = rule(ids, scores)
        if (token := int(scores.argmax())) == tokens.end:
            break
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    return ids[0, begin:].tolist()


@pytest.mark.parametrize("with_timestamps", [False, True])
@pytest.mark.parametrize("language", ["en", "zh"])
@torch.inference_mode()
def test_tokens_are_those_of_transformers(listener: Listener, language: str, with_timestamps: bool) -> None:
    network, tokens = listener.network, listener.tokens
    head = tokens.head(language, translate=False, with_timestamps=with_timestamps)
    for seed in range(3):
        mel = mel_of(listener, noise(1.0, seed))
        decoded = decode_window(network, encode(network, mel), tokens, head, max_tokens=16)
        assert list(decoded.token_ids) == oracle(network, mel, head, tokens, 16)
        assert len(decoded.logprobs) == len(decoded.token_ids) > 3 and max(decoded.logprobs) <= 0.0


@torch.inference_mode()
def test_the_language_is_that_of_transformers(listener: Listener) -> None:
    found = set()
    for seed in range(8):
        mel = mel_of(listener, noise(1.0, seed) * (seed + 1))
        expected = listener.network.detect_language(mel)[0].item()
        language = detect_language(listener.network, encode(listener.network, mel), listener.tokens)
        assert language is not None and listener.tokens.languages[language] == expected
        found.add(language)
    assert found


def test_a_long_recording_is_heard_to_its_end(listener: Listener) -> None:
    result, events = listen(listener)
    assert result.duration_s == pytest.approx(2.5) and result.model == "maker/whisper"
    assert result.language in ("en", "zh") and result.text
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == result.text
    done = [event for event in events if isinstance(event, Progress)]
    assert done[-1].done == done[-1].total == pytest.approx(2.5)
    starts = [segment.start_s for segment in result.segments]
    assert starts == sorted(starts) and len(starts) >= 3
    assert all(0 <= piece.start_s <= piece.end_s <= 2.5 for piece in result.segments)
    assert listen(listener)[0] == result


def test_parts_that_were_asked_for(listener: Listener) -> None:
    plain = listen(listener, timestamps="none", audio=recording(noise(0.5)))[0]
    assert plain.text and not plain.segments and not plain.words
    result = listen(listener, timestamps="word", language="en")[0]
    assert result.segments and len(result.words) > 3
    times = [time for word in result.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= 2.5
    assert all(0 < word.probability <= 1 for word in result.words)


def test_silence_says_nothing(listener: Listener) -> None:
    quiet = np.zeros(3 * RATE, dtype=np.float32)
    for waveform in (quiet, quiet + 3e-4, quiet + 5e-4 * noise(3.0)):
        result, events = listen(listener, audio=recording(waveform))
        assert (result.text, result.segments, result.language) == ("", (), None)
        assert result.duration_s == pytest.approx(3.0)
        assert not [event for event in events if isinstance(event, TextDelta)]
    assert listen(listener, audio=recording(np.concatenate([quiet, noise(1.0)])))[0].text


@pytest.mark.parametrize(("no_speech_prob", "avg_logprob", "is_heard"), [
    (0.9, -2.0, False), (0.9, -0.5, True), (0.1, -0.5, True),
])  # fmt: skip
def test_what_is_held_for_no_speech_says_nothing(
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    no_speech_prob: float,
    avg_logprob: float,
    is_heard: bool,
) -> None:
    def decoded(*args: Any, **kwargs: Any) -> Decoded:
        ids = listener.tokenizer("hello", add_special_tokens=False).input_ids
        return Decoded(
            token_ids=tuple(ids),
            logprobs=(avg_logprob,) * len(ids),
            avg_logprob=avg_logprob,
            no_speech_prob=no_speech_prob,
        )

    monkeypatch.setattr(listen_module, "decode_window", decoded)
    result = listen(listener, audio=recording(noise(0.5)))[0]
    assert result.text == ("hello" if is_heard else "")


def test_what_is_doubtful_is_heard_again_with_the_whole_pad(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[int, float]] = []

    def decoded(network: Any, features: torch.Tensor, *args: Any, temperature: float, **more: Any) -> Decoded:
        heard.append((features.shape[1], temperature))
        ids = listener.tokenizer("hello", add_special_tokens=False).input_ids
        logprob = -3.0 if len(heard) < 3 else -0.5
        return Decoded(
            token_ids=tuple(ids), logprobs=(logprob,) * len(ids), avg_logprob=logprob, no_speech_prob=0.0
        )

    monkeypatch.setattr(listen_module, "decode_window", decoded)
    monkeypatch.setattr(listen_module, "_LEAST_WINDOW_S", 0.2)
    monkeypatch.setattr(listen_module, "_PAD_S", 0.1)
    result = listen(listener, audio=recording(noise(0.5)))[0]
    assert heard == [(30, 0.0), (50, 0.0), (50, 0.2)]
    assert result.text == "hello" and not result.notices


def test_cancelling_is_noticed_while_tokens_are_written(listener: Listener) -> None:
    request, asked_for = asked(), 0

    def is_cancelled() -> bool:
        nonlocal asked_for
        asked_for += 1
        return asked_for > 5

    with pytest.raises(CancelledRequestError):
        listener.answer(request, lambda event: None, is_cancelled, listener.sizes(request)[0])
    assert asked_for == 6


def test_hints_and_temperature_matter(listener: Listener) -> None:
    audio = recording(noise(1.0))
    plain = listen(listener, audio=audio, language="en")[0]
    hinted = listen(listener, audio=audio, language="en", prompt="Shanghai <|nospeech|>")[0]
    assert hinted.text != plain.text
    warm = [listen(listener, audio=audio, language="en", temperature=1.0, seed=seed)[0] for seed in (1, 1, 2)]
    assert warm[0] == warm[1] != warm[2]
    long = listen(listener, audio=audio, prompt="word " * 100)[0]
    assert "the last 23 are used" in long.notices[0]


@pytest.mark.parametrize(
    ("language", "code"), [("zh", "zh"), ("ZH-cn", "zh"), ("Chinese", "zh"), (" English ", "en")]
)
def test_names_of_languages(listener: Listener, language: str, code: str) -> None:
    assert listener.tokens.language_code(language) == code


def test_what_cannot_be_heard(listener: Listener) -> None:
    with pytest.raises(InputError, match="expected one of en, zh") as caught:
        listener.sizes(asked(language="klingon"))
    assert caught.value.param == "language"
    text = asked(audio=AudioPart(data=b"This is a text.", media_type="audio/wav"))
    with pytest.raises(AudioFormatError, match="text file"):
        listener.answer(text, lambda event: None, lambda: False, listener.sizes(text)[0])


def test_a_model_of_one_language(tmp_path: Path) -> None:
    folder = write_listener(tmp_path / "english", languages=False)
    model = load_open(OpenCheckpoint(folder=folder, id="maker/english", kind="listen"))
    assert isinstance(model, Listener)
    assert listen(model)[0].language == "en"
    for values, param in (({"language": "zh"}, "language"), ({"translate": True}, "translate")):
        with pytest.raises(InputError) as caught:
            model.sizes(asked(**values))
        assert caught.value.param == param


def test_folders_that_are_refused(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    path = other / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "feature_size": 80}))
    with pytest.raises(CheckpointError, match="80 mel bins"):
        load_open(OpenCheckpoint(folder=other, id="other", kind="listen"))
    (other / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="tokenizer"):
        load_open(OpenCheckpoint(folder=other, id="other", kind="listen"))


def decoded_of(listener: Listener, *parts: str | float) -> Decoded:
    """Tokens of texts and timestamps."""
    ids: list[int] = []
    for part in parts:
        if isinstance(part, str):
            ids += listener.tokenizer(part, add_special_tokens=False).input_ids
        else:
            ids.append(listener.tokens.first_timestamp + round(part / 0.02))
    logprobs = (-0.5,) * len(ids)
    return Decoded(token_ids=tuple(ids), logprobs=logprobs, avg_logprob=-0.5, no_speech_prob=0.0)


@pytest.mark.parametrize(
    ("parts", "segments", "next_s"),
    [
        ((0.0, " one", 0.4), [(0.0, 0.4, " one")], 1.0),
        ((0.0, " one", 0.4, 0.4, " two", 0.9), [(0.0, 0.4, " one"), (0.4, 0.9, " two")], 1.0),
        ((0.0, " one", 0.4, 0.4, " tw"), [(0.0, 0.4, " one")], 0.4),  # cut: heard again
        ((0.0, " one", 0.4, 0.5), [(0.0, 0.4, " one")], 0.4),
        ((0.2, " one"), [(0.2, 1.0, " one")], 1.0),
        ((" one",), [(0.0, 1.0, " one")], 1.0),
        ((0.0, 0.0), [], 1.0),
        ((), [], 1.0),
    ],
)
def test_segments_of_a_window(
    listener: Listener, parts: tuple[str | float, ...], segments: list[Any], next_s: float
) -> None:
    pieces, found_s = pieces_of(decoded_of(listener, *parts), listener.tokens, step_s=0.02, window_s=1.0)
    found = [(piece.start_s, piece.end_s, listener.tokenizer.decode(piece.token_ids)) for piece in pieces]
    assert found == [(pytest.approx(start), pytest.approx(end), text) for start, end, text in segments]
    assert found_s == pytest.approx(next_s)


class Pieces:
    """A tokenizer whose tokens are pieces of a text's bytes."""

    def __init__(self, *pieces: str | bytes) -> None:
        self.pieces = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]

    def decode(self, ids: list[int]) -> str:
        return b"".join(self.pieces[token] for token in ids).decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("pieces", "language", "words"),
    [
        ((" Hel", "lo", ",", " world", "!"), "en", [" Hello,", " world!"]),
        ((' "', "No", '"', " he", " (", "said", ")."), "en", [' "No"', " he", " (said)."]),
        (("你", b"\xe5\xa5", b"\xbd", "，", "世界"), "zh", ["你", "好，", "世界"]),
        ((" don", "'t", " caf", b"\xc3", b"\xa9"), "en", [" don't", " café"]),
    ],
)
def test_words_of_a_text(pieces: tuple[str | bytes, ...], language: str, words: list[str]) -> None:
    found = split_words(Pieces(*pieces), range(len(pieces)), language)
    assert [word for word, _ in found] == words
    assert [token for _, ids in found for token in ids] == list(range(len(pieces)))


def test_the_cheapest_way() -> None:
    cost = np.ones((3, 6))
    for row, column in ((0, 0), (0, 1), (1, 2), (1, 3), (1, 4), (2, 5)):
        cost[row, column] = -1.0
    rows, columns = _warp(cost)
    assert rows.tolist() == [0, 0, 1, 1, 1, 2] and columns.tolist() == [0, 1, 2, 3, 4, 5]


def test_circles_are_seen() -> None:
    assert repetition("and so on " * 30) > 2.4 > repetition("a quick brown fox jumps over the lazy dog")
