"""What a GGUF model keeps of its last prompt; without llama.cpp."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from localgpt.runtime.open.gguf import GgufLanguageModel, _Kept
from localgpt.runtime.open.llama import PIECE
from localgpt.runtime.open.prompts import OpenPrompt


class Context:
    """Stands for what llama.cpp read."""

    num_tokens = 4 * PIECE
    nbytes = 1
    is_closed = False

    def cut(self, num_tokens: int) -> bool:
        return True

    def read(self, token_ids: list[int]) -> torch.Tensor:
        return torch.zeros(1)

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("owner", ["a", "b"])
def test_only_its_owner_goes_on_with_it(owner: str) -> None:
    kept, context = _Kept(), Context()
    token_ids = list(range(2 * PIECE))
    made: Any = context
    kept.keep(token_ids, "a", made)
    found = kept.take([*token_ids, 7], owner, PIECE)
    assert found == ((context, 2 * PIECE) if owner == "a" else None)
    assert context.is_closed == (owner == "b"), "what nobody gets is given back"
    assert kept.nbytes == 0


def test_what_is_gone_on_with_is_counted() -> None:
    model: Any = object.__new__(GgufLanguageModel)  # without a file
    model._kept, model._room, model.num_reused = _Kept(), PIECE, 0
    token_ids = list(range(2 * PIECE))
    model._kept.keep(token_ids, "a", Context())
    model._read_prompt(OpenPrompt(token_ids=[*token_ids, 7], owner="a"), lambda: False)
    assert model.num_reused == 2 * PIECE, "told as cached_tokens"
