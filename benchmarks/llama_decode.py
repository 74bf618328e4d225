"""llama.cpp making tokens, for `cpu_decode.py`, in whichever Python has llama-cpp-python.

    python benchmarks/llama_decode.py MODEL.gguf THREADS FLASH_ATTENTION < requests > answers

Each line of standard input is JSON, [token ids of the prompt, how many tokens]; each line of standard output
is the tokens a second from the first token to the last. Greedy, through llama.cpp's own functions: of Python
there is one call and one argmax a token. Before the requests it says what it is.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np


def main() -> None:
    path, threads, flash = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"
    import llama_cpp

    # n_ubatch: an `mpt` with query and key norms reads one token at a time; see localgpt.checkpoints.gguf.
    llama = llama_cpp.Llama(
        path, n_ctx=2048, n_batch=1, n_ubatch=1, n_threads=threads, n_threads_batch=threads,
        flash_attn=flash, verbose=False,
    )  # fmt: skip
    system = llama_cpp.llama_print_system_info().decode()
    write({"llama_cpp_python": llama_cpp.__version__, "system": system})
    for line in sys.stdin:
        prompt, num_tokens = json.loads(line)
        write(tokens_a_second(llama_cpp, llama, prompt, num_tokens))


def tokens_a_second(llama_cpp: Any, llama: Any, prompt: list[int], num_tokens: int) -> float:
    """Read the prompt, make tokens, and time all but the first."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(llama.ctx), True)
    token = (llama_cpp.llama_token * 1)()
    vocab_size = llama.n_vocab()

    def read(token_id: int) -> None:
        token[0] = token_id
        if llama_cpp.llama_decode(llama.ctx, llama_cpp.llama_batch_get_one(token, 1)) != 0:
            raise RuntimeError("llama.cpp could not decode")

    def best() -> int:
        logits = llama_cpp.llama_get_logits(llama.ctx)
        return int(np.ctypeslib.as_array(logits, shape=(vocab_size,)).argmax())

    for token_id in prompt:
        read(token_id)
    token_id = best()
    began = time.perf_counter()
    for _ in range(num_tokens - 1):
        read(token_id)
        token_id = best()
    return (num_tokens - 1) / (time.perf_counter() - began)


def write(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
