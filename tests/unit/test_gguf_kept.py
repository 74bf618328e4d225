"""What a GGUF model keeps of its last prompt; without llama.cpp."""

from __future__ import annotations

from typing import Any

import pytest

from localgpt.runtime.open.gguf import _Kept
from localgpt.runtime.open.llama import PIECE


class Context:
    """Stands for what llama.cpp read."""

    num_tokens = 4 * PIECE
    nbytes = 1
    is_closed = False

    def cut(self, num_tokens: int) -> bool:
        return True

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
