"""The family's own recogniser as an `OpenModel`: small, and in English and Chinese."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from localgpt.checkpoints.family import build_recognizer, tensors_under
from localgpt.checkpoints.layout import FamilyLayout
from localgpt.compute.memory.state import Size
from localgpt.errors import CancelledRequestError, CheckpointError, InputError
from localgpt.media.audio import read_audio, told_duration
from localgpt.media.text.spoken_units import NUM_UNITS
from localgpt.runtime.members import family_name
from localgpt.runtime.open.base import Emit, OpenCheckpoint
from localgpt.runtime.open.network_model import NetworkModel
from localgpt.runtime.open.weights import LoadedNetwork
from localgpt.runtime.spoken_languages import spoken_language
from localgpt.sampling.speech.hearing import (
    SAMPLE_RATE,
    HeardSegment,
    Knowledge,
    SpeechStream,
    Writer,
    hear_windows,
    join_words,
    language_of,
)
from localgpt.sampling.speech.search import SearchOptions, expected_words
from localgpt.sampling.speech.word_model import WordModel
from localgpt.sampling.speech.words import WordList
from localgpt.tasks import (
    Language,
    ListenRequest,
    ListenResult,
    Progress,
    Request,
    Result,
    SpeechSegment,
    SpokenWord,
    TextDelta,
)

__all__ = ["EmbeddedListener", "load", "read_knowledge"]

_MAX_SECONDS: Final = 24 * 3600.0
_WINDOW_FRAMES: Final = 500  # of 20 ms


def load(checkpoint: OpenCheckpoint, layout: FamilyLayout) -> EmbeddedListener:
    """Read the member.

    Raises:
        CheckpointError: it is incomplete or broken.
    """
    return EmbeddedListener(checkpoint, read_knowledge(layout, device=checkpoint.device))


def read_knowledge(layout: FamilyLayout, *, device: str = "cpu") -> Knowledge:
    """The recogniser of a family with its words.

    Args:
        layout: of a family that has the member "listener".
        device: where the network goes; int8 stays int8 on the CPU.

    Raises:
        CheckpointError: it is incomplete or broken.
    """
    config = layout.configs["listener"]
    tensors = layout.read_member("listener")
    try:
        if config["num_units"] != NUM_UNITS:
            raise CheckpointError(
                f"{layout.path}: its listener tells {config['num_units']} sounds apart, and this version "
                f"{NUM_UNITS}; take weights and program of the same version"
            )
        network = build_recognizer(config["network"], tensors_under("network.", tensors), device=device)
        model = WordModel(tensors_under("model.", tensors))
        words = WordList.from_tensors(tensors_under("words.", tensors), model.unigrams)
        return Knowledge(
            network=network,
            words=words,
            model=model,
            options=SearchOptions(**_known(SearchOptions, config["search"])),
            pause_s=float(config["pause_s"]),
            min_confidence=float(config["min_confidence"]),
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{layout.path}: the listener does not fit its config ({reason})") from None


class EmbeddedListener(NetworkModel):
    """One loaded recogniser; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        knowledge: network and words.
    """

    tasks: tuple[str, ...] = ("listen",)

    def __init__(self, checkpoint: OpenCheckpoint, knowledge: Knowledge) -> None:
        network = knowledge.network
        super().__init__(checkpoint, LoadedNetwork(network=network, dtype=network.dtype, notices=()))
        self._knowledge: Knowledge | None = knowledge

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """What a window takes; recordings of any length take that.

        Raises:
            InputError: it is no recording, or something is asked for that this recogniser cannot do.
        """
        self._writer(_checked(request, family_name(self.id)))
        config = self._known.network.config
        scores = _WINDOW_FRAMES**2 * config.n_head
        widest = max(size for sizes in config.sizes_ff for size in sizes)
        hidden = _WINDOW_FRAMES * (widest + 12 * config.n_embd)
        return (Size(shape="window", nbytes=4 * (2 * scores + hidden + _WINDOW_FRAMES * NUM_UNITS)),)

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Write down a recording; a text's pieces are told as segments are settled.

        Raises:
            AudioFormatError: the recording is damaged, or longer than a day.
            CancelledRequestError: nobody waits any more.
        """
        name = family_name(self.id)
        checked = _checked(request, name)
        writer = self._writer(checked)
        source = checked.audio.source
        told_s, told = told_duration(source), ""

        def tell(done_s: float) -> None:
            nonlocal told
            if is_cancelled():
                raise CancelledRequestError("listening was cancelled")
            text = _text_of(writer.segments)
            if text != told:
                emit(TextDelta(text=text[len(told) :]))
                told = text
            emit(Progress(done=done_s, total=max(told_s, done_s) if told_s else None, unit="seconds"))

        blocks = read_audio(source, SAMPLE_RATE, max_seconds=_MAX_SECONDS)
        seconds = hear_windows(self._known, blocks, writer, on_window=tell)
        writer.finish()
        tell(seconds)
        return _result(writer.segments, checked, seconds, name)

    def open_stream(self, *, language: str | None = None, prompt: str | None = None) -> SpeechStream:
        """Listen to a recording that is still coming in.

        Args:
            language: as in a request; None to hear both.
            prompt: words to expect.

        Raises:
            InputError: the language is not known.
        """
        words = self._known.words.texts
        return SpeechStream(self._known, language=_language(language), expected=expected_words(prompt, words))

    def release(self) -> None:
        """Let go of the network and the words."""
        super().release()
        self._knowledge = None

    @property
    def _known(self) -> Knowledge:
        assert self._knowledge is not None, "it was released"
        return self._knowledge

    def _writer(self, request: ListenRequest) -> Writer:
        expected = expected_words(request.prompt, self._known.words.texts)
        return Writer(self._known, language=_language(request.language), expected=expected)


def _checked(request: Request, name: str) -> ListenRequest:
    if not isinstance(request, ListenRequest):
        raise InputError(f"the model {name} was to listen; expected a recording", param="model")
    if request.translate:
        raise InputError(
            f"translate is true, and {name} writes down what was said; expected false, or a pulled model "
            "that translates",
            param="translate",
        )
    if request.temperature > 0.0:
        raise InputError(
            f"temperature is {request.temperature}, and {name} writes the likeliest words alone; expected 0",
            param="temperature",
        )
    return request


def _language(told: str | None) -> Language | None:
    return spoken_language(told, "the embedded listener knows")


def _text_of(segments: list[HeardSegment]) -> str:
    return join_words([word.text for segment in segments for word in segment.words])


def _result(segments: list[HeardSegment], request: ListenRequest, seconds: float, name: str) -> ListenResult:
    words = [word for segment in segments for word in segment.words]
    found = [
        SpeechSegment(
            start_s=round(segment.begin_s, 2),
            end_s=round(min(segment.end_s, seconds), 2),
            text=segment.text,
            avg_logprob=math.log(segment.confidence),
            no_speech_prob=1.0 - segment.confidence,
        )
        for segment in segments
    ]
    spoken = [
        SpokenWord(
            start_s=round(word.begin_s, 2),
            end_s=round(min(word.end_s, seconds), 2),
            text=word.text,
            probability=word.confidence,
        )
        for word in words
    ]
    return ListenResult(
        text=_text_of(segments),
        language=language_of([word.text for word in words]),
        duration_s=seconds,
        segments=tuple(found) if request.timestamps != "none" else (),
        model=name,
        words=tuple(spoken) if request.timestamps == "word" else (),
    )


def _known(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those values that a dataclass has a place for."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in values.items() if name in names}
