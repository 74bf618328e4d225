"""The engine: batching, stopping, cancelling, failing; over tiny decoders and a model that counts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from localgpt.engine.async_engine import AsyncEngine
from localgpt.engine.engine import Engine
from localgpt.engine.runner import ModelRunner
from localgpt.engine.sequence import GenerationRequest, Output, Sequence, SequenceState
from localgpt.engine.stopping import StopFilter, is_going_in_circles
from localgpt.errors import BackendError, CancelledRequestError, CapacityError, PromptTooLongError
from localgpt.media.text.tokenizer import StreamDecoder, Tokenizer
from localgpt.media.text.vocabulary import ASSISTANT_ID, BOS_ID, END_ID, USER_ID
from localgpt.nn.kv_cache import KVCache
from localgpt.tasks.options import SamplingOptions
from tests import tiny

GREEDY = SamplingOptions(temperature=0.0)
END = 255


class ByteStream:
    """Token ids are bytes; text comes out in whole characters."""

    def __init__(self) -> None:
        self._held = b""

    def push(self, token_id: int) -> str:
        self._held += bytes([token_id])
        try:
            text = self._held.decode()
        except UnicodeDecodeError:
            return ""
        self._held = b""
        return text

    def flush(self) -> str:
        text, self._held = self._held.decode(errors="replace"), b""
        return text


class ScriptModel:
    """Says a script byte by byte, then the end: the prompt's last byte is the script's number."""

    def __init__(self, *scripts: str, context_len: int = 64) -> None:
        self.scripts = [script.encode() for script in scripts]
        self.context_len = context_len
        self.steps: list[int] = []  # batch size of each decode step
        self.before_step: Callable[[list[int]], None] = lambda slots: None
        self._script: dict[int, tuple[int, int]] = {}  # slot to (script, where it started)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def embed(self, token_ids: Tensor) -> Tensor:
        return token_ids[..., None].float()

    def new_cache(self, num_slots: int, *, dtype: torch.dtype, device: torch.device) -> KVCache:
        return KVCache((1, num_slots, 1, self.context_len, 1), dtype=dtype, device=device)

    def prefill(
        self, embeddings: Tensor, modality: Tensor | None, cache: KVCache, *, slot: int, start: int
    ) -> Tensor:
        self.before_step([slot])
        self._script[slot] = (int(embeddings[-1, 0]), start + len(embeddings))
        return self._logits(slot, start + len(embeddings))

    def decode_step(self, token_ids: Tensor, cache: KVCache, slots: Tensor, lengths: Tensor) -> Tensor:
        self.before_step(slots.tolist())
        self.steps.append(len(slots))
        return torch.stack(
            [
                self._logits(slot, length + 1)
                for slot, length in zip(slots.tolist(), lengths.tolist(), strict=True)
            ]
        )

    def _logits(self, slot: int, num_cached: int) -> Tensor:
        number, start = self._script[slot]
        place = num_cached - start
        script = self.scripts[number % len(self.scripts)]  # pieces in the middle of a prompt end anywhere
        logits = torch.zeros(256)
        logits[script[place] if place < len(script) else END] = 9.0
        return logits


def script_engine(*scripts: str, num_slots: int = 2, context_len: int = 64, max_waiting: int = 8) -> Engine:
    runner = ModelRunner(
        ScriptModel(*scripts, context_len=context_len), num_slots=num_slots, prefill_tokens=4
    )
    return Engine(runner, ByteStream, end_id=END, max_waiting=max_waiting)


def ask(
    number: int = 0, *, length: int = 3, max_tokens: int = 50, options: SamplingOptions = GREEDY
) -> GenerationRequest:
    return GenerationRequest(token_ids=[1] * (length - 1) + [number], options=options, max_tokens=max_tokens)


def drain(engine: Engine) -> dict[Sequence, list[Output]]:
    outputs: dict[Sequence, list[Output]] = {}
    while engine.has_work:
        for output in engine.step():
            outputs.setdefault(output.sequence, []).append(output)
    return outputs


def answer(outputs: list[Output]) -> tuple[str, str | None]:
    return "".join(output.text for output in outputs), outputs[-1].finish_reason


# Stop strings


def filtered(pieces: list[str], *stop: str) -> tuple[list[str], bool]:
    stops = StopFilter(stop)
    released = [stops.push(piece) for piece in pieces]
    if not stops.is_stopped:
        released.append(stops.flush())
    return released, stops.is_stopped


def test_stop_string_in_one_piece() -> None:
    assert filtered(["ab\n\ncd"], "\n\n") == (["ab"], True)


def test_stop_string_across_pieces_never_leaks() -> None:
    assert filtered(["Hel", "lo ST", "O", "P more"], "STOP") == (["Hel", "lo ", "", ""], True)


def test_a_false_start_is_let_out_again() -> None:
    assert filtered(["a ST", "OR", "Y ST"], "STOP") == (["a ", "STOR", "Y ", "ST"], False)


def test_the_earliest_of_several_stop_strings_wins() -> None:
    assert filtered(["one two three"], "three", "two") == (["one "], True)


def test_every_cut_of_a_text_gives_the_same_answer() -> None:
    text = "aab aabaab 停止 end"
    for size in range(1, len(text) + 1):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert "".join(filtered(pieces, "aabaa", "停止")[0]) == "aab "


# The engine


def test_answers_of_a_batch_and_a_queue() -> None:
    engine = script_engine("one", "second", "drei", num_slots=2)
    sequences = [engine.submit(ask(number)) for number in (0, 1, 2, 0)]
    outputs = drain(engine)
    assert [answer(outputs[s]) for s in sequences] == [
        (text, "stop") for text in ("one", "second", "drei", "one")
    ]
    assert all(s.state is SequenceState.FINISHED for s in sequences)
    assert max(engine.runner.decoder.steps) == 2  # they really ran together


def test_first_come_first_served() -> None:
    engine = script_engine("aa", "bb", num_slots=1)
    first, second = engine.submit(ask(0)), engine.submit(ask(1))
    engine.step()
    assert first.slot is not None
    assert second.state is SequenceState.WAITING
    assert list(drain(engine)) == [first, second]


def test_a_long_prompt_lets_others_go_on() -> None:
    engine = script_engine("x" * 30, "y", num_slots=2)
    talker = engine.submit(ask(0))
    engine.step()
    engine.submit(ask(1, length=20))  # five pieces of four
    before = len(talker.answer_ids)
    for _ in range(5):
        engine.step()
    assert len(talker.answer_ids) == before + 5


def test_stop_string_across_tokens() -> None:
    engine = script_engine("say END now")
    sequence = engine.submit(ask(options=SamplingOptions(temperature=0.0, stop=("END",))))
    outputs = drain(engine)[sequence]
    assert answer(outputs) == ("say ", "stop")
    assert not any("E" in output.text for output in outputs)


def test_multi_byte_characters_come_whole() -> None:
    engine = script_engine("巴黎是首都")
    sequence = engine.submit(ask())
    outputs = drain(engine)[sequence]
    assert answer(outputs) == ("巴黎是首都", "stop")
    assert "\ufffd" not in "".join(output.text for output in outputs)


def test_max_tokens_ends_with_length_and_lets_held_text_out() -> None:
    engine = script_engine("abSTxx")
    options = SamplingOptions(temperature=0.0, stop=("STOP",))
    sequence = engine.submit(ask(max_tokens=4, options=options))
    assert answer(drain(engine)[sequence]) == ("abST", "length")


def test_a_full_context_ends_with_length() -> None:
    engine = script_engine("z" * 100, context_len=10)
    sequence = engine.submit(ask(length=6))
    assert answer(drain(engine)[sequence]) == ("zzzz", "length")
    assert sequence.num_cached <= 10


def test_a_prompt_that_fills_the_context_is_refused() -> None:
    with pytest.raises(PromptTooLongError, match="10 tokens"):
        script_engine("z", context_len=10).submit(ask(length=10))


def test_a_full_queue_is_refused() -> None:
    engine = script_engine("z", max_waiting=2)
    for _ in range(2):
        engine.submit(ask())
    with pytest.raises(CapacityError):
        engine.submit(ask())


def test_cancelling_frees_the_slot_at_once() -> None:
    engine = script_engine("x" * 50, "ok", num_slots=1)
    first, second = engine.submit(ask(0)), engine.submit(ask(1))
    engine.step()
    engine.step()
    engine.cancel(first)
    assert (first.finish_reason, first.slot) == ("cancelled", None)
    num_tokens = len(first.answer_ids)
    assert answer(drain(engine)[second]) == ("ok", "stop")
    assert len(first.answer_ids) == num_tokens
    engine.cancel(first)  # a second time does nothing
    engine.cancel(second)
    assert second.finish_reason == "stop"


def test_cancelling_a_waiting_sequence() -> None:
    engine = script_engine("x" * 50, num_slots=1)
    engine.submit(ask())
    waiting = engine.submit(ask())
    engine.step()
    engine.cancel(waiting)
    assert (engine.scheduler.num_waiting, engine.scheduler.num_running) == (0, 1)


def failing(engine: Engine, is_bad: Callable[[list[int]], bool], error: Exception) -> None:
    def before_step(slots: list[int]) -> None:
        if is_bad(slots):
            raise error

    engine.runner.decoder.before_step = before_step


def test_a_failing_batch_ends_only_the_sequence_that_cannot_run() -> None:
    engine = script_engine("good answer", "bad answer")
    good, bad = engine.submit(ask(0)), engine.submit(ask(1))
    for _ in range(3):
        engine.step()
    assert bad.slot == 1
    failing(engine, lambda slots: 1 in slots, RuntimeError("broken kernel\nwith details"))
    outputs = drain(engine)
    assert answer(outputs[good])[1] == "stop"
    assert engine.runner.decoder.scripts[0].endswith(answer(outputs[good])[0].encode())
    assert isinstance(outputs[bad][-1].error, BackendError)
    assert "\n" not in str(outputs[bad][-1].error)
    failing(engine, lambda slots: False, RuntimeError())
    again = engine.submit(ask(1))
    assert answer(drain(engine)[again]) == ("bad answer", "stop")


def test_exhausted_memory_is_a_capacity_error() -> None:
    engine = script_engine("x")
    failing(engine, lambda slots: True, MemoryError())
    sequence = engine.submit(ask())
    assert isinstance(drain(engine)[sequence][-1].error, CapacityError)


def test_numbers_that_are_none_fail_the_sequence() -> None:
    engine = script_engine("x")
    engine.runner.decoder._logits = lambda slot, num_cached: torch.full((256,), float("nan"))
    sequence = engine.submit(ask())
    assert isinstance(drain(engine)[sequence][-1].error, BackendError)


# With a real decoder


@pytest.fixture(scope="module")
def decoder_engine(tokenizer: Tokenizer) -> Callable[..., Engine]:
    decoder = tiny.make_decoder()

    def make(num_slots: int = 3, prefill_tokens: int = 256) -> Engine:
        runner = ModelRunner(decoder, num_slots=num_slots, prefill_tokens=prefill_tokens)
        return Engine(runner, lambda: StreamDecoder(tokenizer))

    return make


PROMPTS = [[BOS_ID, USER_ID, *(65, 66, 67 + 3 * i, 70)[: 1 + i], END_ID, ASSISTANT_ID] for i in range(4)]


def generated(engine: Engine, options: list[SamplingOptions]) -> list[list[int]]:
    sequences = [
        engine.submit(GenerationRequest(token_ids=prompt, options=option, max_tokens=12))
        for prompt, option in zip(PROMPTS, options, strict=True)
    ]
    drain(engine)
    return [sequence.answer_ids for sequence in sequences]


def test_answers_do_not_depend_on_the_batch(decoder_engine: Callable[..., Engine]) -> None:
    options = [
        GREEDY, SamplingOptions(seed=5), GREEDY, SamplingOptions(seed=6, top_k=0, top_p=1.0, temperature=1.3)
    ]  # fmt: skip
    alone = generated(decoder_engine(num_slots=1), options)
    assert generated(decoder_engine(num_slots=4), options) == alone
    assert generated(decoder_engine(num_slots=3, prefill_tokens=2), options) == alone
    assert all(alone)


def test_seeds_reproduce_and_differ(decoder_engine: Callable[..., Engine]) -> None:
    def with_seeds(*seeds: int) -> list[list[int]]:
        return generated(decoder_engine(), [SamplingOptions(seed=seed, temperature=1.5) for seed in seeds])

    assert with_seeds(1, 2, 3, 4) == with_seeds(1, 2, 3, 4)
    assert with_seeds(1, 2, 3, 4)[0] != with_seeds(9, 2, 3, 4)[0]


def test_banned_tokens_are_never_said(decoder_engine: Callable[..., Engine]) -> None:
    only = torch.ones(tiny.DECODER.vocab_size, dtype=torch.bool)
    first_only = only.clone()
    only[[77, END_ID]], first_only[88] = False, False
    engine = decoder_engine()
    request = GenerationRequest(
        token_ids=PROMPTS[0], options=GREEDY, max_tokens=5, banned_first=first_only, banned=only
    )
    sequence = engine.submit(request)
    drain(engine)
    assert sequence.answer_ids[0] == 88
    assert set(sequence.answer_ids[1:]) <= {77}


def test_touched_memory_is_what_was_written(decoder_engine: Callable[..., Engine]) -> None:
    engine = decoder_engine()
    assert engine.runner.touched_bytes == 0
    generated(engine, [GREEDY] * 4)
    assert 0 < engine.runner.touched_bytes < engine.runner.cache.nbytes


# In its thread


async def collect(engine: AsyncEngine, request: GenerationRequest) -> str:
    return "".join([output.text async for output in engine.generate(request)])


async def test_many_callers_at_once() -> None:
    engine = AsyncEngine(script_engine("first", "第二个", "x" * 20))
    try:
        answers = await asyncio.gather(*(collect(engine, ask(number)) for number in (0, 1, 2, 1, 0)))
        assert answers == ["first", "第二个", "x" * 20, "第二个", "first"]
        assert (engine.num_running, engine.num_waiting) == (0, 0)
    finally:
        engine.close()


async def test_leaving_the_iterator_frees_the_slot_within_two_tokens() -> None:
    inner = script_engine("x" * 55, "ok", num_slots=1)
    engine = AsyncEngine(inner)
    gate = threading.Semaphore(0)  # one permit a step
    inner.runner.decoder.before_step = lambda slots: gate.acquire()
    stream = engine.generate(ask())
    gate.release(2)
    await anext(stream)
    await anext(stream)
    sequence = inner.scheduler.unfinished[0]
    await stream.aclose()
    num_tokens = len(sequence.answer_ids)
    waiting = asyncio.create_task(collect(engine, ask(1)))
    gate.release(60)
    assert await waiting == "ok"
    assert sequence.finish_reason == "cancelled"
    assert len(sequence.answer_ids) <= num_tokens + 2
    engine.close()


async def test_cancelling_the_task_cancels_the_work() -> None:
    inner = script_engine("x" * 55, "ok", num_slots=1)
    engine = AsyncEngine(inner)
    gate = threading.Semaphore(3)
    inner.runner.decoder.before_step = lambda slots: gate.acquire()
    task = asyncio.create_task(collect(engine, ask()))
    while not inner.scheduler.num_running:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.release(60)
    assert await collect(engine, ask(1)) == "ok"
    engine.close()


async def test_closing_ends_every_caller_and_joins_the_thread() -> None:
    inner = script_engine("x" * 55, num_slots=1)
    engine = AsyncEngine(inner)
    gate = threading.Semaphore(1)
    inner.runner.decoder.before_step = lambda slots: gate.acquire()
    tasks = [asyncio.create_task(collect(engine, ask())) for _ in range(3)]
    while not (inner.scheduler.num_running and inner.scheduler.num_waiting):
        await asyncio.sleep(0)
    gate.release(60)
    engine.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, CancelledRequestError | str) for result in results)
    assert isinstance(results[-1], CancelledRequestError)
    assert engine._thread is not None
    assert not engine._thread.is_alive()
    with pytest.raises(CancelledRequestError):
        await collect(engine, ask())
    engine.close()


async def test_closing_without_a_request() -> None:
    engine = AsyncEngine(script_engine("x"))
    engine.close()
    assert not engine.is_open


async def test_a_deadline_ends_the_request() -> None:
    inner = script_engine("x" * 55, "ok")
    engine = AsyncEngine(inner)
    gate = threading.Semaphore(0)
    inner.runner.decoder.before_step = lambda slots: gate.acquire()
    with pytest.raises(CancelledRequestError, match="deadline"):
        async for _ in engine.generate(ask(), deadline=asyncio.get_running_loop().time() - 1):
            pass
    gate.release(100)
    assert await collect(engine, ask(1)) == "ok"
    engine.close()


async def test_refusals_reach_the_caller() -> None:
    engine = AsyncEngine(script_engine("x", context_len=10))
    with pytest.raises(PromptTooLongError):
        await collect(engine, ask(length=20))
    assert await collect(engine, ask()) == "x"
    engine.close()


async def test_a_failure_in_the_model_reaches_its_caller_only() -> None:
    inner = script_engine("x", "yy")
    engine = AsyncEngine(inner)
    failing(inner, lambda slots: True, RuntimeError("no"))
    with pytest.raises(BackendError, match="no"):
        await collect(engine, ask())
    failing(inner, lambda slots: False, RuntimeError("no"))
    assert await collect(engine, ask(1)) == "yy"
    engine.close()


async def test_a_broken_loop_tells_everyone() -> None:
    inner = script_engine("x" * 20)
    engine = AsyncEngine(inner)

    def broken() -> list[Output]:
        raise KeyError("scheduler")

    inner.step = broken  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="restart"):
        await collect(engine, ask())
    with pytest.raises(BackendError, match="restart"):
        await collect(engine, ask())
    assert not engine.is_open
    engine.close()


async def test_other_model_work_runs_in_the_same_thread() -> None:
    engine = AsyncEngine(script_engine("x"))
    name, is_inference = await engine.call(
        lambda: (threading.current_thread().name, torch.is_inference_mode_enabled())
    )
    assert (name, is_inference) == ("localgpt-engine", True)

    def fail() -> None:
        raise RuntimeError("encoder")

    with pytest.raises(BackendError, match="encoder"):
        await engine.call(fail)
    assert await collect(engine, ask()) == "x"
    engine.close()


def test_one_engine_serves_several_event_loops() -> None:
    engine = AsyncEngine(script_engine("x"))
    assert [asyncio.run(collect(engine, ask())) for _ in range(3)] == ["x"] * 3
    engine.close()


def test_circles_are_seen_and_lists_are_not() -> None:
    line = [7, 8, 9, 10, 11, 12, 13, 14, 15]
    assert is_going_in_circles([1, 2, *line * 6])
    assert not is_going_in_circles([1, 2, *line * 4])  # a refrain
    assert is_going_in_circles([5] * 48)
    assert is_going_in_circles(list(range(90)) * 3)
    assert not is_going_in_circles(list(range(90)) * 2)
    counting = [token for number in range(40) for token in (100, number, 101)]
    assert not is_going_in_circles(counting)
