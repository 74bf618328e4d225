"""Open voices: VITS and MMS-TTS by the network of transformers.

How they speak is in `speaking`. English ones read numbers, dates and units as words. Letters that a voice
does not know are left out, and a notice names them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

from localgpt.errors import CheckpointError, InputError, MissingWeightsError
from localgpt.media.text.clauses import Clause, split_clauses
from localgpt.media.text.speech.normalize import normalize
from localgpt.runtime.open.base import OpenCheckpoint
from localgpt.runtime.open.network_model import NetworkModel
from localgpt.runtime.open.speaking import Settled, Speaking, Utterance, settle_rate
from localgpt.runtime.open.weights import LoadedNetwork, load_network, reading
from localgpt.tasks import SpeakRequest

__all__ = ["Speaker", "load"]

_LANGUAGES: Final = {
    "en": "eng",
    "zh": "cmn",
    "de": "deu",
    "fr": "fra",
    "es": "spa",
    "ru": "rus",
    "ar": "ara",
}


def load(checkpoint: OpenCheckpoint) -> Speaker:
    """Read a voice.

    Raises:
        CheckpointError: the folder is incomplete or broken, or its words have to be phonemes.
    """
    folder = checkpoint.folder
    if not (folder / "vocab.json").is_file():
        raise MissingWeightsError(f"{folder} has no vocab.json; copy it from the model's repository")
    with reading(folder):
        from transformers import VitsTokenizer

        tokenizer: Any = VitsTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.phonemize and find_spec("phonemizer") is None:
        raise CheckpointError(
            f"{checkpoint.id} speaks phonemes, which takes phonemizer and espeak-ng; install them, "
            "or use a voice that reads letters, such as those of MMS-TTS"
        )
    return Speaker(checkpoint, load_network(checkpoint, "AutoModelForTextToWaveform"), tokenizer)


class Speaker(Speaking, NetworkModel):
    """One loaded voice; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
        tokenizer: of transformers.
    """

    tasks: tuple[str, ...] = ("speak",)

    def __init__(self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork, tokenizer: Any) -> None:
        super().__init__(checkpoint, loaded)
        self._tokenizer = tokenizer

    def settle(self, request: SpeakRequest) -> Settled:
        """Clauses as the letters that the voice knows.

        Raises:
            InputError: the request cannot be spoken.
        """
        self._check_language(request.language)
        rate = settle_rate(request, self.sample_rate)
        self._check_script(request.text)
        clauses = tuple(
            clause for clause in split_clauses(request.text) if self._reads(self._written(clause.text))
        )
        if not clauses:
            raise InputError(
                f"{self.id} knows no letter of the text {request.text[:40]!r}; expected words in its "
                f"language ({self._language or 'as its card says'})",
                param="text",
            )
        speaker_id = self._speaker_id(request.voice)
        return Settled(
            request=request,
            clauses=clauses,
            utterances=tuple((self._utterance(clause, speaker_id),) for clause in clauses),
            sample_rate=rate,
            notices=self._notices_about(self._written(request.text)),
        )

    def _utterance(self, clause: Clause, speaker_id: int | None) -> Utterance:
        return Utterance(
            sound_ids=self._tokenizer(self._written(clause.text))["input_ids"], speaker_id=speaker_id
        )

    def _written(self, text: str) -> str:
        """A text with its numbers, dates and units as words, for English voices that read letters."""
        if self._language != _LANGUAGES["en"] or self._tokenizer.phonemize:
            return text
        return normalize(text, "en")

    @property
    def _language(self) -> str | None:
        """ISO 639-3 code, where the tokenizer tells it."""
        return getattr(self._tokenizer, "language", None)

    def _check_language(self, language: str | None) -> None:
        known = self._language
        if language is None or known is None:
            return
        code = language.strip().lower().partition("-")[0]
        if known not in (code, _LANGUAGES.get(code)):
            raise InputError(
                f"language is {language!r}; {self.id} speaks {known}, expected that or another model",
                param="language",
            )

    def _check_script(self, text: str) -> None:
        """Refuse letters that would have to be romanised first."""
        foreign = [char for char in text if char.isalpha() and not char.isascii()]
        if self._tokenizer.is_uroman and foreign and find_spec("uroman") is None:
            raise InputError(
                f"{self.id} reads romanised text, and {foreign[0]!r} is not; install the package uroman, or "
                "write the text in Latin letters",
                param="text",
            )

    def _speaker_id(self, voice: str | None) -> int | None:
        num: int = self.network.config.num_speakers
        if num <= 1:
            if voice not in (None, "default"):
                raise InputError(
                    f"voice is {voice!r}; {self.id} has one voice, expected none or default", param="voice"
                )
            return None
        if voice in (None, "default"):
            return 0
        if voice is not None and voice.isascii() and voice.isdigit() and int(voice) < num:
            return int(voice)
        raise InputError(f"voice is {voice!r}; expected a number from 0 to {num - 1}", param="voice")

    def _prepared(self, text: str) -> str:
        """The letters that the tokenizer keeps of a text."""
        kept, _ = self._tokenizer.prepare_for_tokenization(text)
        return str(kept)

    def _reads(self, text: str) -> bool:
        return any(char.isalnum() for char in self._prepared(text))

    def _notices_about(self, text: str) -> tuple[str, ...]:
        if self._tokenizer.phonemize or (self._tokenizer.is_uroman and not text.isascii()):
            return ()  # what is read is not what is written
        known = set(self._prepared("".join(sorted(set(text)))))
        lost = sorted({char for char in text if char.isalnum() and not {char, char.lower()} & known})
        if not lost:
            return ()
        return (f"The voice knows no {', '.join(lost[:10])}, which it leaves out; write them as words.",)
