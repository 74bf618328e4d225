"""`/v1/completions`: texts that are no conversation."""

from __future__ import annotations

from typing import Any

from openai.types import Completion

from benchmarks.conformance_checks.target import MODEL, Target, check, expect

PROMPT = "The capital of France is"


async def complete(target: Target, **options: Any) -> Completion:
    given: dict[str, Any] = {"model": MODEL, "prompt": PROMPT, "max_tokens": 12, "temperature": 0, **options}
    reply = await target.openai.completions.create(**given)
    assert isinstance(reply, Completion)
    return reply


@check("completions", "a whole text, and its usage")
async def whole(target: Target) -> None:
    reply = await complete(target)
    expect(reply.object == "text_completion", "another object")
    expect(reply.choices[0].finish_reason in ("stop", "length"), "no reason why it ended")
    expect(reply.usage is not None and reply.usage.completion_tokens <= 12, "more tokens than allowed")


@check("completions", "16 tokens unless asked otherwise")
async def default_limit(target: Target) -> None:
    reply = await target.openai.completions.create(model=MODEL, prompt=PROMPT)
    assert reply.usage is not None
    expect(reply.usage.completion_tokens <= 16, "more than 16 tokens")


@check("completions", "a streamed text is the whole one in pieces, with usage when asked for")
async def streamed(target: Target) -> None:
    stream = await target.lenient.completions.create(
        model=MODEL, prompt=PROMPT, max_tokens=12, temperature=0, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    expect(text == (await complete(target)).choices[0].text, "the stream says something else")
    expect(chunks[-1].usage is not None and not chunks[-1].choices, "no usage in the last chunk")


@check("completions", "several prompts and several choices")
async def several(target: Target) -> None:
    reply = await complete(target, prompt=[PROMPT, "One, two,"], n=2, temperature=1, seed=1, max_tokens=4)
    expect([choice.index for choice in reply.choices] == [0, 1, 2, 3], "not four choices")
    reply = await complete(target, best_of=2, n=1, temperature=1, seed=1, max_tokens=4)
    expect(len(reply.choices) == 1, "best_of is not narrowed to n")


@check("completions", "echo begins with the prompt")
async def echo(target: Target) -> None:
    expect((await complete(target, echo=True)).choices[0].text.startswith(PROMPT), "no echo")


@check("completions", "logprobs")
async def logprobs(target: Target) -> None:
    told = (await complete(target, logprobs=2)).choices[0].logprobs
    expect(told is not None and told.tokens and told.token_logprobs, "no logprobs")
    assert told is not None and told.top_logprobs is not None
    expect(all(len(top) <= 3 for top in told.top_logprobs), "more alternatives than asked for")


@check("completions", "stop, seed, penalties, biases and labels")
async def options(target: Target) -> None:
    text = (await complete(target)).choices[0].text
    word = text[len(text) // 2 :][:3]
    stopped = (await complete(target, stop=word)).choices[0].text
    expect(stopped == text[: text.index(word)], f"stopped at {stopped!r}")
    sampled = {"temperature": 1, "top_p": 0.9, "seed": 5}
    texts = [(await complete(target, **sampled)).choices[0].text for _ in range(2)]
    expect(texts[0] == texts[1], "the same seed wrote differently")
    await complete(
        target, max_tokens=2, frequency_penalty=1, presence_penalty=1, logit_bias={"300": -100}, user="me"
    )


@check("completions", "goes on with a sentence", needs_sense=True)
async def sentence(target: Target) -> None:
    expect("Paris" in (await complete(target)).choices[0].text, "France has another capital")
