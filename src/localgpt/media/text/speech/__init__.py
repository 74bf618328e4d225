"""From written text to the sounds a voice says: normalisation, words to phonemes, English and Chinese."""

from localgpt.media.text.speech.phrases import Phrase, prepare, spoken_phrases, unspoken_letters
from localgpt.media.text.speech.symbols import SYMBOLS, SpokenLanguage, symbol_ids

__all__ = [
    "SYMBOLS",
    "Phrase",
    "SpokenLanguage",
    "prepare",
    "spoken_phrases",
    "symbol_ids",
    "unspoken_letters",
]
