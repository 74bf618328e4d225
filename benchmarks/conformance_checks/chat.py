"""`/v1/chat/completions`: whole and streamed answers, roles, pictures, sampling."""

from __future__ import annotations

from typing import Any

from openai.types.chat import ChatCompletion

from benchmarks.conformance_checks.target import MODEL, Target, check, expect, picture_url, refused

ASK: list[Any] = [{"role": "user", "content": "Tell me about France."}]


async def ask(target: Target, **options: Any) -> ChatCompletion:
    given: dict[str, Any] = {"model": MODEL, "messages": ASK, "max_tokens": 24, "temperature": 0, **options}
    reply = await target.openai.chat.completions.create(**given)
    assert isinstance(reply, ChatCompletion)
    return reply


def text_of(reply: ChatCompletion) -> str:
    return reply.choices[0].message.content or ""


@check("chat", "a whole answer")
async def whole(target: Target) -> None:
    reply = await ask(target)
    expect(reply.object == "chat.completion", "another object")
    expect(reply.choices[0].finish_reason in ("stop", "length"), "no reason why it ended")
    expect(reply.choices[0].message.role == "assistant", "another role")
    expect(text_of(reply), "an empty answer")
    usage = reply.usage
    expect(usage is not None and usage.prompt_tokens > 0 and usage.completion_tokens > 0, "no usage")
    assert usage is not None
    expect(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, "the usage's sum is wrong")
    expect(reply.system_fingerprint, "no system_fingerprint")


@check("chat", "a streamed answer is the whole one in pieces")
async def streamed(target: Target) -> None:
    stream = await target.openai.chat.completions.create(
        model=MODEL, messages=ASK, max_tokens=24, temperature=0, stream=True
    )
    chunks = [chunk async for chunk in stream]
    expect(chunks[0].choices[0].delta.role == "assistant", "the first chunk has no role")
    expect(len({chunk.id for chunk in chunks}) == 1, "chunks have different ids")
    expect(chunks[-1].choices[0].finish_reason in ("stop", "length"), "the last chunk tells no reason")
    expect(all(chunk.usage is None for chunk in chunks), "usage came without being asked for")
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    expect(text == text_of(await ask(target)), "the stream says something else than the whole answer")


@check("chat", "stream_options.include_usage adds a last chunk without choices")
async def usage_chunk(target: Target) -> None:
    stream = await target.openai.chat.completions.create(
        model=MODEL, messages=ASK, max_tokens=8, stream=True,
        stream_options={"include_usage": True, "include_obfuscation": False},
    )  # fmt: skip
    chunks = [chunk async for chunk in stream]
    expect(chunks[-1].choices == [] and chunks[-1].usage is not None, "no usage in the last chunk")
    expect(all(chunk.usage is None for chunk in chunks[:-1]), "usage came before the last chunk")


@check("chat", "the raw stream is data lines that end with [DONE]")
async def raw_stream(target: Target) -> None:
    body = {"model": MODEL, "messages": ASK, "max_tokens": 4, "stream": True}
    reply = await target.http.post("/v1/chat/completions", json=body)
    expect(reply.headers["content-type"].startswith("text/event-stream"), "not an event stream")
    blocks = [block for block in reply.text.split("\n\n") if block and not block.startswith(":")]
    expect(all(block.startswith("data: ") for block in blocks), "an event is no data line")
    expect(blocks[-1] == "data: [DONE]", "the stream does not end with [DONE]")


@check("chat", "the stream helper of the official client")
async def stream_helper(target: Target) -> None:
    text = text_of(await ask(target))
    end = text[len(text) // 2 :][:3]  # an answer that its limit cuts off is an error of that helper
    async with target.openai.chat.completions.stream(
        model=MODEL, messages=ASK, max_tokens=24, temperature=0, stop=end
    ) as helper:
        final = await helper.get_final_completion()
    expect(final.choices[0].message.content == text[: text.index(end)], "another text")


@check("chat", "every role, and content as parts")
async def roles(target: Target) -> None:
    await ask(
        target,
        max_tokens=4,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
            {"role": "assistant", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "And now?"},
        ],
    )


@check("chat", "a picture in every detail that is known")
async def picture(target: Target) -> None:
    for detail in (None, "auto", "low", "high"):
        image = {"url": picture_url()} | ({} if detail is None else {"detail": detail})
        content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": image}]
        reply = await ask(target, max_tokens=4, messages=[{"role": "user", "content": content}])
        expect(text_of(reply), "an empty answer about a picture")
        assert reply.usage is not None
        expect(reply.usage.prompt_tokens > 5, "the picture counts no tokens")


@check("chat", "temperature 0 answers alike twice")
async def greedy(target: Target) -> None:
    expect(text_of(await ask(target)) == text_of(await ask(target)), "two answers differ")


@check("chat", "the same seed answers alike twice, another one may not")
async def seed(target: Target) -> None:
    story = [{"role": "user", "content": "Tell me a story about a cat."}]  # no question with one answer
    options = {"temperature": 1, "top_p": 1, "max_tokens": 16, "messages": story}
    texts = [text_of(await ask(target, seed=number, **options)) for number in (7, 7, 8, 9, 10)]
    expect(texts[0] == texts[1], "the same seed answered differently")
    expect(len(set(texts)) > 1, "every seed answered alike")


@check("chat", "max_tokens and max_completion_tokens bound the answer")
async def limits(target: Target) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        given: dict[str, Any] = {"model": MODEL, "messages": ASK, "temperature": 0, name: 3}
        reply = await target.openai.chat.completions.create(**given)
        expect(reply.usage.completion_tokens == 3, f"{name}: {reply.usage.completion_tokens} tokens")
        expect(reply.choices[0].finish_reason == "length", f"{name}: it did not end at the limit")
    await refused(
        target, "/v1/chat/completions", {**given, "max_tokens": 4}, "max_completion_tokens"
    )  # they differ


@check("chat", "stop ends the answer before its string")
async def stop(target: Target) -> None:
    text = text_of(await ask(target))
    word = text[len(text) // 2 :][:3]
    expected = text[: text.index(word)]
    for given in (word, [word, "\u2603\u2603\u2603"]):
        reply = await ask(target, stop=given)
        expect(text_of(reply) == expected, f"stopped at {text_of(reply)!r}, expected {expected!r}")
        expect(reply.choices[0].finish_reason == "stop", "it says that it did not stop")


@check("chat", "n gives as many choices, whole and streamed")
async def choices(target: Target) -> None:
    reply = await ask(target, n=3, temperature=1, seed=3, max_tokens=8)
    expect([choice.index for choice in reply.choices] == [0, 1, 2], "not the choices 0, 1, 2")
    again = await ask(target, n=3, temperature=1, seed=3, max_tokens=8)
    texts = [[choice.message.content for choice in one.choices] for one in (reply, again)]
    expect(texts[0] == texts[1], "a seed does not repeat the choices")
    stream = await target.openai.chat.completions.create(
        model=MODEL, messages=ASK, n=2, max_tokens=4, stream=True
    )
    ended = [c.index async for chunk in stream for c in chunk.choices if c.finish_reason is not None]
    expect(sorted(ended) == [0, 1], f"the choices {ended} ended")


@check("chat", "logprobs and top_logprobs, whole and streamed")
async def logprobs(target: Target) -> None:
    reply = await ask(target, logprobs=True, top_logprobs=2, max_tokens=8)
    told = reply.choices[0].logprobs
    expect(told is not None and told.content, "no logprobs")
    assert told is not None and told.content is not None
    data = b"".join(bytes(entry.bytes or []) for entry in told.content)
    expect(
        data.decode(errors="replace").startswith(text_of(reply).strip()[:4]), "other tokens than the text's"
    )
    for entry in told.content:
        expect(entry.logprob <= 0 and len(entry.top_logprobs) <= 2, "impossible logprobs")
        tops = [top.logprob for top in entry.top_logprobs]
        expect(tops == sorted(tops, reverse=True), "the alternatives are not sorted")
    expect((await ask(target, max_tokens=4)).choices[0].logprobs is None, "logprobs came unasked")
    stream = await target.openai.chat.completions.create(
        model=MODEL, messages=ASK, max_tokens=8, temperature=0, logprobs=True, stream=True
    )
    pieces = [c.logprobs async for chunk in stream for c in chunk.choices if c.logprobs is not None]
    streamed_data = b"".join(bytes(e.bytes or []) for piece in pieces for e in piece.content or [])
    expect(streamed_data == data, "the stream tells other logprobs")


@check("chat", "logit_bias and penalties steer the answer")
async def steering(target: Target) -> None:
    plain = await ask(target, max_tokens=12, logprobs=True)
    forced = await ask(target, max_tokens=6, logit_bias={"300": 100})
    expect(text_of(forced) != text_of(plain), "a bias of 100 changed nothing")
    repeated = {"logit_bias": {"300": 60}, "max_tokens": 8}
    once = await ask(target, **repeated, frequency_penalty=2, presence_penalty=2)
    expect(text_of(await ask(target, **repeated)) or text_of(once), "nothing was said")
    for name in ("frequency_penalty", "presence_penalty"):
        await ask(target, max_tokens=2, **{name: -2})
    await ask(target, max_tokens=2, extra_body={"top_k": 5, "repetition_penalty": 1.1})


@check("chat", "labels and neutral values are accepted")
async def labels(target: Target) -> None:
    reply = await ask(
        target, max_tokens=2, user="someone", safety_identifier="x", prompt_cache_key="y",
        metadata={"a": "b"}, service_tier="auto", store=False, modalities=["text"], verbosity="medium",
        reasoning_effort="none", prompt_cache_retention="in_memory", n=1, parallel_tool_calls=True,
        response_format={"type": "text"},
    )  # fmt: skip
    expect(reply.service_tier == "default", "the tier is not told")


@check("chat", "knows a capital", needs_sense=True)
async def capital(target: Target) -> None:
    reply = await ask(target, messages=[{"role": "user", "content": "What is the capital of France?"}])
    expect("Paris" in text_of(reply), f"it answered {text_of(reply)!r}")
