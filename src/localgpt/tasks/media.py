"""Painting, listening, speaking and detecting: their requests, results and events. Encoded bytes only.

Lengths of time are seconds from the beginning of the recording; places in pictures are pixels of the picture
as a viewer shows it, upright, from its upper left corner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from localgpt.tasks.base import RequestBase, require
from localgpt.tasks.messages import ImagePart

__all__ = [
    "STAGES",
    "AudioPart",
    "DetectRequest",
    "DetectResult",
    "DetectedObject",
    "HeatMap",
    "ListenRequest",
    "ListenResult",
    "MaskMarks",
    "PaintEffort",
    "PaintPreview",
    "PaintRequest",
    "PaintResult",
    "PaintStage",
    "PaintedImage",
    "PictureFormat",
    "Progress",
    "SpeakChunk",
    "SpeakRequest",
    "SpeakResult",
    "SpeechFormat",
    "SpeechSegment",
    "SpokenWord",
    "StageName",
    "Timestamps",
]

StageName = Literal["sketch", "middle", "final"]
STAGES: Final[tuple[StageName, ...]] = ("sketch", "middle", "final")
Timestamps = Literal["none", "segment", "word"]
PictureFormat = Literal["png", "jpeg", "webp"]
PaintEffort = Literal["low", "medium", "high"]
MaskMarks = Literal["white", "clear"]
SpeechFormat = Literal["wav", "pcm", "mp3", "flac", "opus", "aac"]

MAX_PAINT_CHARS: Final = 4000  # of a prompt
MIN_SIDE, MAX_SIDE, SIDE_STEP = 64, 4096, 8  # pixels of a painted picture's side
MAX_IMAGES: Final = 10
MAX_STEPS: Final = 500
_EFFORTS: Final[dict[PaintEffort, float]] = {"low": 0.5, "medium": 1.0, "high": 1.5}  # of a model's own steps
MAX_HINT_CHARS: Final = 10_000  # of the words that tell a recogniser what to expect
MAX_SPEAK_CHARS: Final = 50_000
MAX_SEED: Final = 2**53 - 1  # an integer that every reader of JSON keeps
MAX_LABELS, MAX_OBJECTS = 1000, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPart:
    """One encoded recording, exactly as it arrived: WAV, MP3, FLAC, Ogg, M4A, WebM ...

    Either its bytes, or the name of a file that holds them, for recordings that memory should not hold whole.
    Whoever asks keeps that file unchanged until the answer is there. Models read `source`.
    """

    data: bytes = b""
    path: str | None = None
    media_type: str = "application/octet-stream"

    def __post_init__(self) -> None:
        require(not (self.data and self.path), "audio", "bytes and a file", "one of them")

    @property
    def source(self) -> bytes | Path:
        """What `media.audio` reads."""
        return self.data if self.path is None else Path(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far long work is."""

    done: float
    total: float | None  # None = not known
    unit: Literal["steps", "seconds", "clauses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintRequest(RequestBase):
    """Paint pictures of a text, from nothing, from a picture, or into the masked part of one.

    Raises:
        InputError: a value is out of range or without its companion; `param` names it.
    """

    prompt: str
    negative_prompt: str = ""  # what shall not be seen; only for models that paint with guidance
    width: int | None = None  # pixels; with `height`, or both None = what the model and the memory make best
    height: int | None = None
    num_steps: int | None = None  # None = the model's own, as far as `effort` has it
    effort: PaintEffort = "medium"  # half the model's own steps, all of them, or half as many more
    guidance_scale: float | None = None  # how closely the prompt is followed; None = the model's own
    seed: int | None = None  # of the first picture; each further one has the next; None = a fresh one
    num_images: int = 1
    image: ImagePart | None = None  # to begin from
    strength: float | None = None  # how much of `image` is painted over, above 0 to 1; None = the model's own
    mask: ImagePart | None = None  # of `image`: white is painted over, black stays
    mask_marks: MaskMarks = "white"  # what of the mask is painted over; "clear" = what is transparent
    num_previews: int = 0  # stages shown as they come: 1 = sketch, 2 = sketch and middle, 3 = all
    binds_words: bool | None = None  # keep things where the prompt says they are; None = as the model has it
    wants_heat_maps: bool = False  # tell for each word where in the picture it was looked for
    is_progressive: bool | None = None  # paint stages of growing size, or at once; None = as the model does
    format: PictureFormat = "png"
    format_quality: int = 100  # of JPEG and WebP, from 0 to 100

    def __post_init__(self) -> None:
        _require_text("prompt", self.prompt, MAX_PAINT_CHARS)
        got = f"{len(self.negative_prompt):,} characters"
        expected = f"at most {MAX_PAINT_CHARS:,}"
        require(len(self.negative_prompt) <= MAX_PAINT_CHARS, "negative_prompt", got, expected)
        require(
            (self.width is None) == (self.height is None), "width", self.width, "width and height, or none"
        )
        for name in ("width", "height"):
            if (side := getattr(self, name)) is not None:
                is_good = MIN_SIDE <= side <= MAX_SIDE and side % SIDE_STEP == 0
                require(is_good, name, side, f"a multiple of {SIDE_STEP} from {MIN_SIDE} to {MAX_SIDE}")
        require(1 <= self.num_images <= MAX_IMAGES, "num_images", self.num_images, f"from 1 to {MAX_IMAGES}")
        if self.num_steps is not None:
            require(1 <= self.num_steps <= MAX_STEPS, "num_steps", self.num_steps, f"from 1 to {MAX_STEPS}")
        if self.guidance_scale is not None:
            require(0.0 <= self.guidance_scale <= 50.0, "guidance_scale", self.guidance_scale, "from 0 to 50")
        _require_seed(self.seed)
        if self.strength is not None:
            require(self.image is not None, "strength", self.strength, "a picture to begin from with it")
            require(0.0 < self.strength <= 1.0, "strength", self.strength, "above 0 and at most 1")
        require(
            self.mask is None or self.image is not None, "mask", "a mask alone", "the picture it is of, too"
        )
        require(0 <= self.num_previews <= len(STAGES), "num_previews", self.num_previews, "from 0 to 3")
        require(
            self.effort == "medium" or self.num_steps is None, "effort", self.effort, "no num_steps with it"
        )
        if self.is_progressive:
            require(self.image is None, "is_progressive", True, "no picture to begin from with it")
        require(0 <= self.format_quality <= 100, "format_quality", self.format_quality, "from 0 to 100")
        if self.format == "png":
            require(self.format_quality == 100, "format_quality", self.format_quality, "100 for PNG")

    def steps_of(self, own: int) -> int:
        """How many steps are asked for of a model whose own number is `own`."""
        return self.num_steps or max(1, round(own * _EFFORTS[self.effort]))


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintStage:
    """A stage a picture went through: what was shown of it, and after how many steps."""

    name: StageName
    num_steps: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Where a word was looked for while a picture was painted: attention from all its places to the word.

    A grey picture of 8 bits on the grid that the painter works on; the place that looked most is white.
    """

    word: str  # as it stands in the prompt
    data: bytes  # PNG
    width: int
    height: int
    media_type: str = "image/png"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintedImage:
    """A finished picture. The same model, request and `seed` paint it again, alone or among others."""

    data: bytes  # of `media_type`
    width: int
    height: int
    seed: int
    stages: tuple[PaintStage, ...]
    media_type: str = "image/png"
    heat_maps: tuple[HeatMap, ...] = ()  # where asked for, in the order of the words


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintPreview:
    """A picture on its way, as soon as its stage is reached; what comes last may be of the final stage."""

    stage: StageName
    index: int  # of the picture
    data: bytes  # of `media_type`
    width: int
    height: int
    num_steps: int  # done
    media_type: str = "image/png"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintResult:
    """The pictures, in order. `notices` tell what was made smaller or left out."""

    images: tuple[PaintedImage, ...]
    seconds: float  # of painting, without loading
    model: str
    num_steps: int
    guidance_scale: float
    notices: tuple[str, ...] = ()
    binds_words: bool = False  # whether words were kept to their places
    binding_seconds: float = 0.0  # of `seconds`, what that took


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenRequest(RequestBase):
    """Write down what is said in a recording.

    Raises:
        InputError: a value is out of range; `param` names it.
    """

    audio: AudioPart
    language: str | None = None  # ISO 639 code or English name; None = found out
    translate: bool = False  # to English
    timestamps: Timestamps = "segment"
    prompt: str | None = None  # words to expect: names, spellings, what was said before
    temperature: float = 0.0  # 0 = the likeliest words
    seed: int | None = None  # of a temperature above 0; None = a fresh one

    def __post_init__(self) -> None:
        if self.language is not None:
            require(bool(self.language.strip()), "language", self.language, "a code such as en or zh")
        length = len(self.prompt or "")
        require(length <= MAX_HINT_CHARS, "prompt", f"{length:,} characters", f"at most {MAX_HINT_CHARS:,}")
        require(0.0 <= self.temperature <= 1.0, "temperature", self.temperature, "from 0 to 1")
        _require_seed(self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechSegment:
    """A run of speech. `avg_logprob` is the mean natural logarithm of its tokens' probabilities."""

    start_s: float
    end_s: float
    text: str
    avg_logprob: float
    no_speech_prob: float  # that nothing is said there, as the model holds it
    token_ids: tuple[int, ...] = ()  # of the model's own vocabulary
    temperature: float = 0.0  # that its words were drawn at
    heard_from_s: float = 0.0  # where the stretch begins that the model heard at once


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenWord:
    """A word and when it is said."""

    start_s: float
    end_s: float
    text: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenResult:
    """What was said; nothing at all where nobody speaks. The parts asked for by `timestamps` are filled."""

    text: str
    language: str | None  # ISO 639 code; None where the model knows none, or nobody speaks
    duration_s: float
    segments: tuple[SpeechSegment, ...]
    model: str
    words: tuple[SpokenWord, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakRequest(RequestBase):
    """Say a text.

    Raises:
        InputError: a value is out of range; `param` names it.
    """

    text: str
    voice: str | None = None  # None = the model's first
    language: str | None = None  # None = the voice's own
    speed: float = 1.0  # 2 = twice as fast
    seed: int | None = None  # of rhythm and intonation; None = a fresh one
    sample_rate: int | None = None  # Hz; None = the model's own, or the nearest that the format has
    format: SpeechFormat = "wav"
    wants_file: bool = True  # False: the chunks are all that is wanted, and the result holds no bytes

    def __post_init__(self) -> None:
        _require_text("text", self.text, MAX_SPEAK_CHARS)
        require(0.25 <= self.speed <= 4.0, "speed", self.speed, "from 0.25 to 4")
        _require_seed(self.seed)
        if self.sample_rate is not None:
            is_good = 8000 <= self.sample_rate <= 48_000
            require(is_good, "sample_rate", self.sample_rate, "from 8000 to 48000 Hz")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakChunk:
    """The next bytes of the spoken text, as they are made; together they are one file of the format.

    A clause comes in one piece or several; its words are told with the first.

    A WAV file that is sent as it is made cannot tell its length in its head; that of the result does.
    """

    data: bytes
    text: str  # what begins to be said in it; empty where a clause goes on, or only the file's end is left
    start_s: float
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakResult:
    """The spoken text as one file: one channel; PCM is 16 bits, little endian, without a head."""

    data: bytes  # empty where no file was wanted
    format: SpeechFormat
    media_type: str
    sample_rate: int  # Hz
    duration_s: float
    seed: int
    model: str
    voice: str | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectRequest(RequestBase):
    """Find objects in a picture.

    Raises:
        InputError: a value is out of range; `param` names it.
    """

    image: ImagePart
    labels: tuple[str, ...] | None = None  # only these kinds; None = all the model knows
    threshold: float = 0.5  # least score
    max_objects: int = 100  # the best are kept

    def __post_init__(self) -> None:
        require(0.0 <= self.threshold <= 1.0, "threshold", self.threshold, "from 0 to 1")
        require(
            1 <= self.max_objects <= MAX_OBJECTS, "max_objects", self.max_objects, f"from 1 to {MAX_OBJECTS}"
        )
        if self.labels is not None:
            is_good = 1 <= len(self.labels) <= MAX_LABELS and all(label.strip() for label in self.labels)
            require(is_good, "labels", self.labels[:3], f"from 1 to {MAX_LABELS} names of kinds")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedObject:
    """An object: what it is, how sure that is from 0 to 1, and its left, top, right and bottom in pixels."""

    label: str
    score: float
    box_xyxy: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        is_good = len(self.box_xyxy) == 4 and all(map(math.isfinite, self.box_xyxy))
        require(is_good, "box_xyxy", self.box_xyxy, "left, top, right and bottom")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectResult:
    """The objects, surest first, and the size of the upright picture that their boxes are in."""

    objects: tuple[DetectedObject, ...]
    width: int
    height: int
    model: str
    notices: tuple[str, ...] = ()


def _require_text(param: str, text: str, max_chars: int) -> None:
    require(bool(text.strip()), param, text[:20], "some words")
    require(len(text) <= max_chars, param, f"a text of {len(text):,} characters", f"at most {max_chars:,}")


def _require_seed(seed: int | None) -> None:
    if seed is not None:
        require(0 <= seed <= MAX_SEED, "seed", seed, f"from 0 to {MAX_SEED}")
