"""The special tokens of a Whisper checkpoint, and its tokens as words.

Papers: Radford et al. 2022 (arXiv:2212.04356). Rules of timestamps and words as in openai/whisper (MIT).
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from localgpt.errors import CheckpointError, InputError

__all__ = ["ListenTokens", "split_words"]

_BROKEN: Final = "\ufffd"  # what the bytes of half a character decode to
_NO_SPACES: Final = frozenset(("zh", "ja", "th", "lo", "my", "yue"))  # languages written without spaces
_ENGLISH_VOCABULARY: Final = 51_864  # tokens
_BEFORE: Final = "\"'“¿([{-「『《（"  # punctuation that belongs to the word after it
_AFTER: Final = "\"'.。,，!！?？:：”)]}、；;」』》）"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenTokens:
    """Ids of the special tokens; None where a checkpoint has none, as those for English alone."""

    start: int  # of the transcript: sot
    end: int  # eot
    previous: int  # what follows was said before, or is to be expected
    no_timestamps: int
    first_timestamp: int  # 0.00 s; each further one is later by a fiftieth of a second
    no_speech: int
    languages: dict[str, int]
    transcribe: int | None
    translate: int | None
    never: tuple[int, ...]  # not to be written
    never_first: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Any, network: Any) -> ListenTokens:
        """Those of a checkpoint.

        Raises:
            CheckpointError: its tokenizer is not Whisper's.
        """
        from transformers.models.whisper.tokenization_whisper import LANGUAGES

        vocab, generation = tokenizer.get_vocab(), network.generation_config

        def need(*names: str) -> int:
            for name in names:
                if (found := vocab.get(f"<|{name}|>")) is not None:
                    return int(found)
            raise CheckpointError(
                f"the tokenizer has no token <|{names[0]}|>; expected that of a Whisper model"
            )

        codes = {code: vocab.get(f"<|{code}|>") for code in LANGUAGES}
        languages = {code: int(found) for code, found in codes.items() if found is not None}
        special = ("startoftranscript", "startofprev", "startoflm", "transcribe", "translate", "nospeech")
        ids = [vocab.get(f"<|{name}|>") for name in (*special, "nocaptions")]
        never = {*(found for found in ids if found is not None), *languages.values()}
        no_timestamps = need("notimestamps")
        return cls(
            start=need("startoftranscript"),
            end=need("endoftext"),
            previous=need("startofprev"),
            no_timestamps=no_timestamps,
            first_timestamp=no_timestamps + 1,
            no_speech=need("nospeech", "nocaptions"),
            languages=languages if _is_multilingual(network) else {},
            transcribe=vocab.get("<|transcribe|>"),
            translate=vocab.get("<|translate|>"),
            never=tuple(sorted(never | set(getattr(generation, "suppress_tokens", None) or ()))),
            never_first=tuple(getattr(generation, "begin_suppress_tokens", None) or ()),
        )

    def language_code(self, language: str) -> str:
        """The code of a language as the model knows it, from a code, a code with a region, or a name.

        Raises:
            InputError: the model does not know it.
        """
        from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

        wanted = language.strip().lower()
        code = TO_LANGUAGE_CODE.get(wanted, wanted.replace("_", "-").partition("-")[0])
        known = self.languages or {"en": 0}
        if code not in known:
            some = ", ".join(sorted(known)[:20])
            raise InputError(
                f"language is {language!r}, which the model does not know; expected one of {some}"
                + (" ..." if len(known) > 20 else ""),
                param="language",
            )
        return code

    def head(self, language: str | None, *, translate: bool, with_timestamps: bool) -> list[int]:
        """The tokens that a transcript begins with."""
        tokens = [self.start]
        if self.languages and language is not None:
            task = self.translate if translate else self.transcribe
            tokens += [self.languages[language], *([task] if task is not None else [])]
        return tokens if with_timestamps else [*tokens, self.no_timestamps]

    def is_text(self, token: int) -> bool:
        """Whether a token is a piece of text."""
        return token < self.end


def _is_multilingual(network: Any) -> bool:
    """Checkpoints for English alone have the tokens of the other languages, too, but never learned them."""
    told = getattr(network.generation_config, "is_multilingual", None)
    return bool(told) if told is not None else network.config.vocab_size != _ENGLISH_VOCABULARY


def split_words(tokenizer: Any, tokens: Sequence[int], language: str | None) -> list[tuple[str, list[int]]]:
    """Text tokens as words, punctuation beside its word.

    Args:
        tokenizer: of the checkpoint.
        tokens: of text alone.
        language: languages without spaces have each character for a word.
    """
    words: list[tuple[str, list[int]]] = []
    for text, piece in _characters(tokenizer, tokens):
        goes_on = words and not text.startswith(" ") and language not in _NO_SPACES
        if goes_on and text.strip() not in string.punctuation:
            last, ids = words[-1]
            words[-1] = (last + text, ids + piece)
        else:
            words.append((text, piece))
    return _with_punctuation(words)


def _characters(tokenizer: Any, tokens: Sequence[int]) -> list[tuple[str, list[int]]]:
    """The shortest runs of tokens that are whole characters."""
    found: list[tuple[str, list[int]]] = []
    waiting: list[int] = []
    for token in tokens:
        waiting.append(token)
        text = tokenizer.decode(waiting)
        if _BROKEN not in text or len(waiting) > 4:  # a character has at most four bytes
            found.append((text, waiting))
            waiting = []
    if waiting:
        found.append((tokenizer.decode(waiting), waiting))
    return found


def _with_punctuation(words: list[tuple[str, list[int]]]) -> list[tuple[str, list[int]]]:
    merged: list[tuple[str, list[int]]] = []
    before: tuple[str, list[int]] = ("", [])
    for text, ids in words:
        mark = text.strip()
        if mark and text.startswith(" ") and all(char in _BEFORE for char in mark):
            before = (before[0] + text, before[1] + ids)
        elif mark and merged and not before[1] and all(char in _AFTER for char in text):
            merged[-1] = (merged[-1][0] + text, merged[-1][1] + ids)
        else:
            merged.append((before[0] + text, before[1] + ids))
            before = ("", [])
    if before[1]:
        merged.append(before)
    return merged
