"""The family's own voice as an `OpenModel`: English and Chinese, mixed in one text as people write them.

The network is transformers' `VitsModel`, as that of pulled voices, and speaks as they do (`open.speaking`).
Its words come as sounds (`media.text.speech`). Each language has its own voice: one that never learned the
other's sounds would not be understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from localgpt.checkpoints.layout import FamilyLayout
from localgpt.errors import CheckpointError, InputError
from localgpt.media.text.clauses import split_clauses
from localgpt.media.text.speech import SYMBOLS, SpokenLanguage, prepare, spoken_phrases, symbol_ids
from localgpt.media.text.speech import unspoken_letters as unspoken
from localgpt.media.text.speech.normalize import main_language
from localgpt.nn.linear import dequantize_weight
from localgpt.runtime.members import family_name
from localgpt.runtime.open.base import OpenCheckpoint
from localgpt.runtime.open.network_model import NetworkModel
from localgpt.runtime.open.speaking import Settled, Speaking, Utterance, settle_rate
from localgpt.runtime.open.weights import LoadedNetwork, reading
from localgpt.runtime.spoken_languages import spoken_language
from localgpt.tasks import SpeakRequest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["EmbeddedSpeaker", "Voice", "build_voice", "load"]

_MEMBER: Final = "speaker"
_TRAINING_ONLY: Final = "posterior_encoder"
_NAMES: Final[Mapping[SpokenLanguage, str]] = {"en": "English", "zh": "Chinese"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """One of the network's speakers."""

    name: str  # that requests name it by
    language: SpokenLanguage
    speaker: int
    bandwidth_hz: int  # what it learned from has no sound above


def load(checkpoint: OpenCheckpoint, layout: FamilyLayout) -> EmbeddedSpeaker:
    """Read the member.

    Raises:
        CheckpointError: it is incomplete or broken.
    """
    config = layout.configs[_MEMBER]
    try:
        if config["symbols"] != SYMBOLS:
            raise CheckpointError(
                f"{layout.path}: its voice was taught other sounds than this version writes; take weights "
                "and program of the same version"
            )
        known = {field.name for field in fields(Voice)}
        voices = tuple(
            Voice(**{name: value for name, value in voice.items() if name in known})
            for voice in config["voices"]
        )
        if {voice.language for voice in voices} != set(_NAMES):
            raise CheckpointError(f"{layout.path}: its voice lacks one of the languages {', '.join(_NAMES)}")
        half = checkpoint.fp16 and checkpoint.device.startswith("cuda")
        dtype = torch.float16 if half else torch.float32
        with reading(layout.path):
            network = build_voice(config["vits"], layout.read_member(_MEMBER), dtype)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{layout.path}: the voice does not fit its config ({reason})") from None
    prepare()
    loaded = LoadedNetwork(network=network.to(checkpoint.device), dtype=dtype, notices=())
    return EmbeddedSpeaker(checkpoint, loaded, voices)


def build_voice(config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype) -> nn.Module:
    """A `VitsModel` that speaks, in eval mode on the CPU, without what only training needs.

    Args:
        config: values of `VitsConfig`.
        tensors: plain weights by name; int8 with a scale beside it.
        dtype: of all weights.
    """
    from torch import nn
    from torch.nn.utils import parametrize
    from transformers import VitsConfig, VitsModel

    with torch.device("meta"):
        network: Any = VitsModel(VitsConfig(**config))
    network.posterior_encoder = nn.Identity()
    for module in network.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    state = {}
    for name, tensor in tensors.items():
        scale = tensors.get(f"{name}_scale")
        if name.startswith(_TRAINING_ONLY) or (name.endswith("_scale") and name[: -len("_scale")] in tensors):
            continue
        state[name] = tensor.to(dtype) if scale is None else dequantize_weight(tensor, scale, dtype)
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)  # type: ignore[no-any-return]


class EmbeddedSpeaker(Speaking, NetworkModel):
    """The loaded voice; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
        voices: by name; the first of a language speaks it.
    """

    tasks: tuple[str, ...] = ("speak",)

    def __init__(self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork, voices: tuple[Voice, ...]) -> None:
        super().__init__(checkpoint, loaded)
        self.voices = voices
        ranges = " and ".join(
            f"its {_NAMES[voice.language]} voice has sound up to {voice.bandwidth_hz / 1000:g} kHz"
            for voice in voices
        )
        self.notices = (f"It writes {self.sample_rate:,} samples a second; {ranges}.",)

    @property
    def told_with_results(self) -> tuple[str, ...]:
        """Nothing: what `notices` says is always so, and is told with the status."""
        return ()

    @property
    def result_model(self) -> str:
        """The family, which is what callers know."""
        return family_name(self.id)

    def settle(self, request: SpeakRequest) -> Settled:
        """Clauses as sounds, each word by the voice of its language.

        Raises:
            InputError: no such voice or language, or nothing of the text can be said.
        """
        chosen = self._chosen(request)
        main = chosen.language if chosen is not None else _language(request) or main_language(request.text)
        rate = settle_rate(request, self.sample_rate)
        spoken = [(clause, spoken_phrases(clause.text, main)) for clause in split_clauses(request.text)]
        spoken = [(clause, phrases) for clause, phrases in spoken if phrases]
        if not spoken:
            raise InputError(
                f"nothing of the text {request.text[:40]!r} can be said; expected words in English or "
                "Chinese, or numbers",
                param="text",
            )
        speakers = {voice.language: voice.speaker for voice in reversed(self.voices)}
        if chosen is not None:
            speakers[chosen.language] = chosen.speaker
        heard = {phrase.language for _, phrases in spoken for phrase in phrases}
        return Settled(
            request=request,
            clauses=tuple(clause for clause, _ in spoken),
            utterances=tuple(
                tuple(
                    Utterance(sound_ids=symbol_ids(phrase.symbols), speaker_id=speakers[phrase.language])
                    for phrase in phrases
                )
                for _, phrases in spoken
            ),
            sample_rate=rate,
            notices=(*_left_out(request.text), *self._other_voice(chosen, heard)),
        )

    def _chosen(self, request: SpeakRequest) -> Voice | None:
        """The voice that a request names."""
        if request.voice in (None, "default"):
            return None
        for voice in self.voices:
            if voice.name == request.voice:
                wanted = _language(request)
                if wanted not in (None, voice.language):
                    raise InputError(
                        f"language is {request.language!r}, and the voice {voice.name} speaks "
                        f"{_NAMES[voice.language]}; leave one of them out",
                        param="language",
                    )
                return voice
        names = ", ".join(voice.name for voice in self.voices)
        raise InputError(f"voice is {request.voice!r}; expected {names} or default", param="voice")

    def _other_voice(self, chosen: Voice | None, heard: set[SpokenLanguage]) -> tuple[str, ...]:
        if chosen is None or heard <= {chosen.language}:
            return ()
        other = next(voice for voice in self.voices if voice.language != chosen.language)
        return (
            f"The voice {chosen.name} speaks {_NAMES[chosen.language]} alone; words in "
            f"{_NAMES[other.language]} are said by the voice {other.name}.",
        )


def _language(request: SpeakRequest) -> SpokenLanguage | None:
    return spoken_language(request.language, "the embedded voice speaks")


def _left_out(text: str) -> tuple[str, ...]:
    lost = unspoken(text)
    if not lost:
        return ()
    return (f"The voice cannot say {', '.join(lost[:10])}, which it leaves out.",)
