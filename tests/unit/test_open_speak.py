"""Open voices: clauses as they are made, the same by seed, speed, formats, letters that are not known."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from localgpt.errors import CancelledRequestError, CheckpointError, InputError, MissingWeightsError
from localgpt.media.audio import decode_audio_bytes
from localgpt.media.text.clauses import Clause, split_clauses
from localgpt.runtime.open import speak as speak_module
from localgpt.runtime.open import speaking
from localgpt.runtime.open.base import OpenCheckpoint, kind_of, load_open
from localgpt.runtime.open.speak import Speaker
from localgpt.tasks import Event, Progress, SpeakChunk, SpeakRequest, SpeakResult
from tests.tiny_media import write_voice

TEXT = "Hello there, my friend! How are you today?"
GetVoice = Callable[..., Speaker]


@pytest.fixture(scope="module")
def get(tmp_path_factory: pytest.TempPathFactory) -> GetVoice:
    def get(**values: Any) -> Speaker:
        folder = write_voice(tmp_path_factory.mktemp("voice") / "vits", **values)
        model = load_open(OpenCheckpoint(folder=folder, id="maker/voice", kind=kind_of(folder)))
        assert isinstance(model, Speaker)
        return model

    return get


@pytest.fixture(scope="module")
def voice(get: GetVoice) -> Speaker:
    return get()


def speak(voice: Speaker, /, **values: Any) -> tuple[SpeakResult, list[Event]]:
    request = SpeakRequest(**{"id": "1", "text": TEXT, "seed": 1, **values})
    events: list[Event] = []
    result = voice.answer(request, events.append, lambda: False, voice.sizes(request)[0])
    assert isinstance(result, SpeakResult)
    return result, events


def test_a_text_as_a_wav_file(voice: Speaker) -> None:
    result, events = speak(voice)
    with soundfile.SoundFile(io.BytesIO(result.data)) as file:
        assert (file.samplerate, file.channels, file.subtype) == (16_000, 1, "PCM_16")
        samples = file.read(dtype="float32")
    assert len(samples) / 16_000 == pytest.approx(result.duration_s) and result.duration_s > 0.5
    assert np.isfinite(samples).all() and 0.0 < np.abs(samples).max() <= 1.0
    chunks = [event for event in events if isinstance(event, SpeakChunk)]
    told = [chunk.text for chunk in chunks if chunk.text]
    assert told == ["Hello there,", "my friend!", "How are you today?"]
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3]
    assert b"".join(chunk.data for chunk in chunks)[44:] == result.data[44:]
    starts = np.cumsum([0.0, *(chunk.duration_s for chunk in chunks)])
    assert [chunk.start_s for chunk in chunks] == pytest.approx(starts[:-1].tolist())
    assert (result.seed, result.format, result.media_type) == (1, "wav", "audio/wav")


def test_the_seed_decides(voice: Speaker) -> None:
    first = speak(voice)[0].data
    assert speak(voice)[0].data == first != speak(voice, seed=2)[0].data
    fresh = speak(voice, seed=None)[0]
    assert speak(voice, seed=fresh.seed)[0].data == fresh.data


def test_no_two_voices_draw_at_once(voice: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """They draw from torch's own generator, which all threads share."""
    held: list[bool] = []
    make = speaking.make_frames

    def watched(*args: Any, **values: Any) -> Any:
        held.append(speaking._drawing.locked())
        return make(*args, **values)

    monkeypatch.setattr(speaking, "make_frames", watched)
    speak(voice)
    assert held and all(held)


def test_speed(voice: Speaker) -> None:
    text = "a somewhat longer sentence without any marks"
    slow, plain, fast = (speak(voice, text=text, speed=speed)[0].duration_s for speed in (0.5, 1.0, 2.0))
    assert slow > 1.5 * plain > 1.5 * 1.3 * fast


@pytest.mark.parametrize("name", ["pcm", "mp3", "flac", "opus", "aac"])
def test_formats(voice: Speaker, name: str) -> None:
    result, events = speak(voice, format=name)
    joined = b"".join(event.data for event in events if isinstance(event, SpeakChunk))
    assert result.format == name and joined
    if name == "pcm":
        assert joined == result.data and len(joined) == 2 * round(result.duration_s * 16_000)
        return
    for data in (joined, result.data):
        length = len(decode_audio_bytes(data, 16_000)) / 16_000
        assert length == pytest.approx(result.duration_s, abs=0.2)


def test_another_rate(voice: Speaker) -> None:
    plain, other = speak(voice)[0], speak(voice, sample_rate=24_000, format="pcm")[0]
    assert other.sample_rate == 24_000 and other.duration_s == pytest.approx(plain.duration_s, abs=0.01)
    with pytest.raises(InputError, match="24000") as caught:
        speak(voice, sample_rate=22_050, format="opus")
    assert caught.value.param == "sample_rate"


def test_a_text_is_made_ready_once(voice: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    split = speak_module.split_clauses
    monkeypatch.setattr(speak_module, "split_clauses", lambda text: read.append(text) or split(text))
    speak(voice, text="hello")
    assert read == ["hello"]


def test_letters_that_are_not_known(get: GetVoice) -> None:
    voice = get(language="deu")  # whose numbers nobody here can write
    result = speak(voice, text="Room 7 on level 4, please.")[0]
    assert result.notices == ("The voice knows no 4, 7, which it leaves out; write them as words.",)
    for text in ("12 34", "你好", "..."):
        with pytest.raises(InputError, match="knows no letter") as caught:
            speak(voice, text=text)
        assert caught.value.param == "text"


def test_english_voices_read_numbers(get: GetVoice) -> None:
    english = get(language="eng")
    words = speak(english, text="Room seven, please.")[0]
    assert not words.notices and speak(english, text="Room 7, please.")[0].data == words.data
    assert speak(english, text="12")[0].duration_s > 0


def test_scripts_that_have_to_be_romanised(get: GetVoice) -> None:
    roman = get(is_uroman=True, language="rus")
    with pytest.raises(InputError, match="uroman") as caught:
        speak(roman, text="Привет", language="ru")
    assert caught.value.param == "text"
    assert speak(roman, text="privet", language="ru")[0].duration_s > 0


def test_voices_and_languages(get: GetVoice, voice: Speaker) -> None:
    several = get(num_speakers=3)
    spoken = {speak(several, voice=name)[0].data for name in (None, "1", "2")}
    assert len(spoken) == 3 and speak(several, voice="0")[0].data in spoken
    for model, values, param in (
        (several, {"voice": "3"}, "voice"),
        (voice, {"voice": "alloy"}, "voice"),
        (voice, {"language": "zh"}, "language"),
    ):
        with pytest.raises(InputError, match="expected") as caught:
            speak(model, **values)
        assert caught.value.param == param
    assert speak(voice, voice="default", language="en-US")[0].duration_s > 0


def test_cancelling_is_noticed_between_clauses(voice: Speaker) -> None:
    request, events = SpeakRequest(id="1", text=TEXT), list[Event]()
    with pytest.raises(CancelledRequestError):
        voice.answer(request, events.append, lambda: bool(events), voice.sizes(request)[0])
    assert len([event for event in events if isinstance(event, SpeakChunk)]) == 1


def test_folders_that_are_refused(get: GetVoice, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="phonemizer"):
        get(phonemize=True)
    folder = write_voice(tmp_path / "voice")
    (folder / "vocab.json").unlink()
    with pytest.raises(MissingWeightsError, match=r"vocab\.json"):
        load_open(OpenCheckpoint(folder=folder, id="maker/voice", kind="speak"))


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("", []),
        (" ... ", []),
        ("One", [("One", 0.0)]),
        ("It costs 3.14 euros. Yes.", [("It costs 3.14 euros.", 0.35), ("Yes.", 0.0)]),
        ("Well, yes, of course, why not?", [("Well, yes, of course,", 0.12), ("why not?", 0.0)]),
        ("你好，今天天气很好。我们走吧！", [("你好，今天天气很好。", 0.35), ("我们走吧！", 0.0)]),
        ("今天天气很好，我们走吧", [("今天天气很好，", 0.12), ("我们走吧", 0.0)]),
        ('He said: "Stop!" Then he left.', [('He said: "Stop!"', 0.35), ("Then he left.", 0.0)]),
        ("first paragraph\n\nsecond one", [("first paragraph", 0.35), ("second one", 0.0)]),
    ],
)
def test_clauses(text: str, clauses: list[tuple[str, float]]) -> None:
    assert split_clauses(text) == [Clause(text=part, pause_s=pause_s) for part, pause_s in clauses]


def test_long_clauses_are_cut_and_nothing_is_lost() -> None:
    text = " ".join(f"word{number}" for number in range(100)) + "，" + "长" * 500
    clauses = split_clauses(text, max_chars=50)
    assert max(len(clause.text) for clause in clauses) <= 50
    letters = "".join(clause.text for clause in clauses).replace(" ", "")
    assert letters == text.replace(" ", "")


def test_a_long_clause_is_sent_as_it_is_made(voice: Speaker) -> None:
    text = "a somewhat longer sentence without any marks that goes on and on"
    result, events = speak(voice, text=text, format="pcm", sample_rate=24_000)
    chunks = [event for event in events if isinstance(event, SpeakChunk)]
    assert len(chunks) > 2 and [chunk.text for chunk in chunks] == [text] + [""] * (len(chunks) - 1)
    assert chunks[0].duration_s < 0.5
    assert b"".join(chunk.data for chunk in chunks) == result.data
    assert sum(chunk.duration_s for chunk in chunks) == pytest.approx(result.duration_s)
    request, seen = SpeakRequest(id="1", text=text), list[Event]()
    with pytest.raises(CancelledRequestError):
        voice.answer(request, seen.append, lambda: bool(seen), voice.sizes(request)[0])
    assert len(seen) == 1  # nobody waits for the rest of a clause


def test_abbreviations_end_no_clause() -> None:
    assert [
        clause.text for clause in split_clauses("Ask Dr. Smith, Prof. Li and Mr. Jones. Thanks a lot!")
    ] == [
        "Ask Dr. Smith,",
        "Prof. Li and Mr. Jones.",
        "Thanks a lot!",
    ]
