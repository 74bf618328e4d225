"""Answers that a grammar decides: JSON that fits a schema, and tool calls; the one user of `llguidance`.

Notable:
- An object closes within its budget, always. Beside the place in the grammar a state holds a text that would
  complete the answer from there, as tokens that are known to fit. A token is taken only if after it there is
  such a text within the tokens that are left; if the model wants none of those, the known text is said. So
  the text is never longer than the budget, however badly the search for short ones (`closing`) does.
- Only masks are computed by the library. Compiled grammars are remembered, and copying one is cheap.

Shape legend: V vocabulary.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.errors import BackendError, InputError
from localgpt.media.text.lexicon import Lexicon
from localgpt.sampling.closing import JsonText, ends_of_values, find_closing
from localgpt.sampling.pieces import Ending, Pieces
from localgpt.sampling.schemas import OWN_CALLS, CallForm, CallSyntax, call_rules, json_rules
from localgpt.sampling.tokens import Choice, sample_token

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["Grammar", "GrammarCompiler", "GrammarState"]

_MOST_TRIES = 2  # tokens of the model's own choice that are looked at before the known text is said
_MOST_REMEMBERED = 32


class GrammarCompiler:
    """Makes grammars for one tokenizer, for any thread; the library is loaded with the first one.

    Args:
        tokenizer: of the model whose answers are decided; each byte has a token of its own.
        syntax: how that model writes calls.
    """

    def __init__(self, tokenizer: Lexicon, *, syntax: CallSyntax = OWN_CALLS) -> None:
        self._tokenizer = tokenizer
        self._syntax = syntax
        self._vocabulary: _Vocabulary | None = None
        self._known: OrderedDict[str, Grammar] = OrderedDict()
        self._lock = threading.Lock()

    def json(self, schema: str | None) -> Grammar:
        """Answers that are one JSON text.

        Args:
            schema: JSON schema as JSON text; None for any object.

        Raises:
            InputError: no schema, or one with parts that cannot be followed; `param` is "response_format".
        """
        return self._compile(f"start: json\n{json_rules(schema)}", opening=(), param="response_format")

    def calls(self, tools: Sequence[CallForm], *, parallel: bool) -> Grammar:
        """Answers that are calls of the given tools, each behind its opener.

        Args:
            tools: at least one.
            parallel: more than one call may follow each other.

        Raises:
            InputError: a tool's parameters cannot be followed; `param` is "tools".
        """
        rules = f"start: calls\n{call_rules(tools, parallel=parallel, syntax=self._syntax)}"
        return self._compile(rules, opening=self._syntax.opening_ids, param="tools")

    def calls_or_json(self, tools: Sequence[CallForm], schema: str | None, *, parallel: bool) -> Grammar:
        """Either of the above, as the model likes.

        Raises:
            InputError: as above.
        """
        self.json(schema)  # so that an error names its own field
        self.calls(tools, parallel=parallel)
        calls = call_rules(tools, parallel=parallel, syntax=self._syntax)
        rules = f"start: calls | json\n{json_rules(schema)}{calls}"
        return self._compile(rules, opening=(), param="tools")

    def _compile(self, rules: str, *, opening: tuple[int, ...], param: str) -> Grammar:
        with self._lock:
            if rules in self._known:
                self._known.move_to_end(rules)
                return self._known[rules]
            if self._vocabulary is None:
                self._vocabulary = _Vocabulary(self._tokenizer)
            grammar = _new_grammar(self._vocabulary, rules, opening, param)
            self._known[rules] = grammar
            if len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
            return grammar


class Grammar:
    """What an answer must be. `start` makes the state of one answer; the grammar itself never changes."""

    def __init__(self, vocabulary: _Vocabulary, matcher: LLMatcher, shortest: Ending) -> None:
        self._vocabulary = vocabulary
        self._matcher = matcher
        self._shortest = shortest

    @property
    def num_needed(self) -> int:
        """Tokens of the shortest text that fits."""
        return self._shortest.num_tokens

    def start(self) -> GrammarState:
        """The state of a new answer."""
        return GrammarState(self._vocabulary, self._matcher.deep_copy(), self._shortest)


class GrammarState:
    """Where one answer is in its grammar, and how it could end from there."""

    def __init__(self, vocabulary: _Vocabulary, matcher: LLMatcher, ending: Ending) -> None:
        self.is_forced = False  # whether the budget decided about a token
        self._vocabulary = vocabulary
        self._matcher = matcher
        self._ending = ending  # known to fit
        self._text = JsonText()
        self._is_closing = False

    @property
    def is_over(self) -> bool:
        """Whether nothing but the end may follow."""
        return self._matcher.is_stopped()

    def close(self) -> None:
        """End the answer from here as shortly as is known."""
        self._is_closing = True

    def open(self, token_id: int) -> None:
        """Walk on with the token that opens the shortest text, where that was chosen elsewhere."""
        piece = self._vocabulary.pieces.all[token_id]
        assert self._ending.opening == (token_id,) or (piece and self._ending.text.startswith(piece))
        self._push(token_id)
        self._ending = self._ending.rest(len(piece))

    def choose(self, logits: Tensor, choice: Choice, *, num_left: int) -> int:
        """Choose the next token and walk on with it.

        Args:
            logits: (V,) floating point, any device; not changed.
            choice: as for `sample_token`; its bans give way to the grammar, and its penalties leave tokens
                of structure alone, or texts would be kept from closing.
            num_left: tokens the answer may still have, this one included; at least those of the shortest end.

        Returns:
            The token id; the tokenizer's end where the model ends a text that is complete.

        Raises:
            BackendError: the grammar grew too complex.
        """
        if self._is_closing:
            return self._say_ending()
        banned = self._vocabulary.banned(self._matcher)
        structure = self._vocabulary.pieces.structure
        seen = [token_id for token_id in choice.seen if token_id not in structure]
        for _ in range(_MOST_TRIES):
            token_id = sample_token(logits, replace(choice, banned=banned.to(logits.device), seen=seen))
            if token_id == self._vocabulary.end_id or self._try(token_id, num_left - 1):
                return token_id
            self.is_forced = True
            banned[token_id] = True
            if bool(banned.all()):
                break
        return self._say_ending()

    def _say_ending(self) -> int:
        if not self._ending.num_tokens:
            return self._vocabulary.end_id
        token_id = self._ending.tokens[0]
        self._push(token_id)
        is_opening = token_id in self._ending.opening
        self._ending = self._ending.rest(0 if is_opening else self._vocabulary.num_bytes(token_id))
        return token_id

    def _try(self, token_id: int, num_left: int) -> bool:
        """Walk on with a token if the answer can end within the tokens left after it."""
        before = self._text.copy()
        self._push(token_id)
        ending = self._ending_after(token_id, before, num_left)
        if ending is not None:
            self._ending = ending
            return True
        self._text = before
        if not self._matcher.rollback(1):
            raise _broken(self._matcher)
        return False

    def _push(self, token_id: int) -> None:
        if not self._matcher.consume_token(token_id):
            raise _broken(self._matcher)
        self._text.push(self._vocabulary.pieces.all[token_id])

    def _ending_after(self, token_id: int, before: JsonText, num_left: int) -> Ending | None:
        """How the answer could end after a token just read, if `num_left` tokens are enough."""
        known = self._ending
        if self._vocabulary.is_reserved(token_id):
            found = known.rest(0) if known.opening == (token_id,) else self._search(())
        elif known.text.startswith(self._vocabulary.pieces.all[token_id]) and not known.opening:
            found = known.rest(self._vocabulary.num_bytes(token_id))
        elif known.num_tokens <= num_left and self._fits(known):
            found = known  # the same end as before, for example from inside a string
        else:
            found = self._search([known.rest(place) for place in ends_of_values(known.text, before)])
        return found if found is not None and found.num_tokens <= num_left else None

    def _search(self, tails: Sequence[Ending]) -> Ending | None:
        ending = self._vocabulary.ending(self._matcher, self._text, tails=tails)
        return ending if ending is not None and self._fits(ending) else None

    def _fits(self, ending: Ending) -> bool:
        if not ending.num_tokens:
            return self._matcher.is_accepting()
        tokens = [*ending.tokens, self._vocabulary.end_id]
        return self._matcher.validate_tokens(tokens) == len(tokens)


class _Vocabulary:
    """The tokenizer as the library sees it."""

    def __init__(self, tokenizer: Lexicon) -> None:
        from llguidance import LLTokenizer, TokenizerWrapper  # 60 ms, needed by few answers

        self.pieces = Pieces(tokenizer)
        self.library: LLTokenizer = LLTokenizer(
            TokenizerWrapper(_Wrapped(tokenizer, self.pieces.all)),
            n_vocab=tokenizer.vocab_size,
            slices=LLTokenizer.json_slices(),
        )
        self.end_id = tokenizer.end_id
        self._size, self._reserved = tokenizer.vocab_size, tokenizer.reserved
        single = np.array(self.pieces.of_bytes)
        self._byte_places, self._byte_bits = single >> 3, (single & 7).astype(np.uint8)

    def is_reserved(self, token_id: int) -> bool:
        """Whether a token stands for no text."""
        return token_id in self._reserved

    def num_bytes(self, token_id: int) -> int:
        """Length of an ordinary token."""
        return len(self.pieces.all[token_id])

    def banned(self, matcher: LLMatcher) -> Tensor:
        """(V,) bool, True = the grammar does not allow it next."""
        bits = np.unpackbits(_bitmask(matcher), bitorder="little")[: self._size]
        return torch.from_numpy(bits == 0)

    def next_bytes(self, matcher: LLMatcher) -> bytes:
        """The single bytes the grammar allows next, in rising order."""
        bits = (_bitmask(matcher)[self._byte_places] >> self._byte_bits) & 1
        return np.flatnonzero(bits).astype(np.uint8).tobytes()

    def ending(
        self,
        matcher: LLMatcher,
        text: JsonText,
        *,
        tails: Sequence[Ending] = (),
        opening: tuple[int, ...] = (),
        thorough: bool = False,
    ) -> Ending | None:
        """A short ending of what a matcher is in the middle of; `tails` may be how it goes on."""
        place = _LibraryPlace(self, matcher)
        found = find_closing(place, text, tails=[tail.text for tail in tails], thorough=thorough)
        if found is None:
            return None
        return self.pieces.ending(found.way, None if found.tail is None else tails[found.tail], opening)


class _LibraryPlace:
    """A place of the library's for `closing`."""

    def __init__(self, vocabulary: _Vocabulary, matcher: LLMatcher) -> None:
        self._vocabulary = vocabulary
        self._matcher = matcher

    @property
    def is_complete(self) -> bool:
        return self._matcher.is_accepting()

    def copy(self) -> _LibraryPlace:
        return _LibraryPlace(self._vocabulary, self._matcher.deep_copy())

    def forced(self) -> bytes:
        return self._matcher.compute_ff_bytes()

    def next_bytes(self) -> bytes:
        return self._vocabulary.next_bytes(self._matcher)

    def push(self, data: bytes) -> bool:
        token_ids = self._vocabulary.pieces.single(data)
        return self._allows(token_ids) and self._matcher.consume_tokens(token_ids)

    def completes(self, data: bytes) -> bool:
        single = self._vocabulary.pieces.single
        return self._allows(single(data[:8])) and self._allows([*single(data), self._vocabulary.end_id])

    def _allows(self, token_ids: list[int]) -> bool:
        return self._matcher.validate_tokens(token_ids) == len(token_ids)


class _Wrapped:
    """What the library asks of a tokenizer."""

    def __init__(self, tokenizer: Lexicon, pieces: Sequence[bytes]) -> None:
        self.eos_token_id, self.bos_token_id = tokenizer.end_id, tokenizer.bos_id
        names = {token_id: name.encode() for token_id, name in tokenizer.reserved.items()}
        self.tokens = [names.get(token_id, piece) for token_id, piece in enumerate(pieces)]
        self.special_token_ids = sorted(names)
        self._encode = tokenizer.encode

    def __call__(self, text: str | bytes) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode())


def _new_grammar(vocabulary: _Vocabulary, rules: str, opening: tuple[int, ...], param: str) -> Grammar:
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(verbose_errors=False)  # a caller's schema does not go into messages
    matcher = LLMatcher(vocabulary.library, LLMatcher.grammar_from_lark(rules), log_level=0, limits=limits)
    if matcher.is_error():
        raise InputError(f"the schema cannot be followed: {_reason(matcher)}; use a simpler one", param=param)
    opened = matcher.deep_copy()
    opened.consume_tokens(list(opening))
    try:
        shortest = vocabulary.ending(opened, JsonText(), opening=opening, thorough=True)
    except BackendError as error:
        raise InputError(str(error), param=param) from error
    if shortest is None:
        raise InputError(
            "no text that fits the schema was found; check its patterns and limits, or use a simpler one",
            param=param,
        )
    return Grammar(vocabulary, matcher, shortest)


def _bitmask(matcher: LLMatcher) -> NDArray[np.uint8]:
    mask = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
    if matcher.is_error():
        raise _broken(matcher)
    return mask


def _broken(matcher: LLMatcher) -> BackendError:
    return BackendError(f"the schema could not be followed to the end: {_reason(matcher)}; use a simpler one")


def _reason(matcher: LLMatcher) -> str:
    """The library's own words on one line, without its quotation of our rules."""
    text = matcher.get_error().split("\n   1 |")[0].replace("<non-verbose/>", "")
    return " ".join(text.rpartition("failed to compile JSON schema: ")[2].split())
