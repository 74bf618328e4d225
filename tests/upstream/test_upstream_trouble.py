"""Upstreams that are slow, broken, gone, or lie: one clear error each, and nothing asked twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import pytest

from localgpt.errors import (
    BackendError,
    CancelledRequestError,
    CapacityError,
    DeadlineError,
    InputError,
    LocalGPTError,
    PromptTooLongError,
)
from localgpt.runtime.upstream import connection
from localgpt.runtime.upstream.address import Upstream
from localgpt.runtime.upstream.service import UpstreamService
from localgpt.tasks import EmbedRequest, Event, SamplingOptions, TextDelta, TextPart
from tests.upstream.asking import KEY, MODEL, answer, chat, service_of
from tests.upstream.wire_server import (
    Asked,
    Script,
    chunk,
    event,
    head,
    says,
    sends,
    streams,
    text_chunks,
    wire_server,
)

EMBED = EmbedRequest(id="r", model=MODEL, inputs=(TextPart(text="one"), TextPart(text="two")))


async def error_of(script: Script, request: Any = None, **given: Any) -> LocalGPTError:
    """How a request ends that is asked once."""
    async with wire_server(script) as server:
        with pytest.raises(LocalGPTError) as caught:
            await service_of(server, **given).run(request or chat())
        assert len(server.asked) == 1, "nothing is asked twice"
        assert "box" in str(caught.value) and "\n" not in str(caught.value)
        return caught.value


def hangs_after(*chunks: Any) -> Script:
    """A script that streams some chunks and then says nothing more until the client goes away."""

    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.method == "GET":  # for its models
            return
        writer.write(head() + b"".join(map(event, chunks)))
        await writer.drain()
        await asyncio.Event().wait()

    return script


@pytest.mark.parametrize("num_read", [0, 1])
async def test_a_closed_stream_closes_the_connection(num_read: int) -> None:
    """Before the first piece, and between two."""
    async with wire_server(hangs_after(*[chunk({"content": "a"})] * num_read)) as server:
        stream = cast("AsyncGenerator[Event]", service_of(server).stream(chat()))
        for _ in range(num_read):
            assert await anext(stream) == TextDelta(text="a")
        waiting = asyncio.ensure_future(anext(stream))
        while not server.asked:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await stream.aclose()
        await server.gone.wait()


async def test_a_stream_that_nobody_reads_on_closes_the_connection() -> None:
    async with wire_server(hangs_after(chunk({"content": "a"}))) as server:
        service = service_of(server)
        async with aclosing(cast("AsyncGenerator[Event]", service.stream(chat()))) as stream:
            assert await anext(stream) == TextDelta(text="a")
            assert (await service.status()).num_running == 1
        await server.gone.wait()
        assert (await service.status()).num_running == 0


@pytest.mark.parametrize(
    "request_",
    [chat(deadline_s=0.05), EmbedRequest(id="r", model=MODEL, inputs=EMBED.inputs, deadline_s=0.05)],
)
async def test_a_deadline_closes_the_connection(request_: Any) -> None:
    async with wire_server(hangs_after()) as server:
        with pytest.raises(DeadlineError, match="before the request's deadline"):
            await service_of(server).run(request_)
        await server.gone.wait()


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = UpstreamService([Upstream(name="box", base_url=f"http://127.0.0.1:{port}/v1")])
    with pytest.raises(BackendError, match=rf"upstream box at 127.0.0.1:{port} cannot be reached .*start it"):
        await service.run(chat())


async def test_a_service_that_is_closed_asks_nobody() -> None:
    async with wire_server(streams(*text_chunks("never"))) as server:
        service = service_of(server)
        await service.close()
        with pytest.raises(CancelledRequestError, match="closing"):
            await service.run(chat())
        assert not (await service.status()).ready and not server.asked


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (sends(b""), "broke off"),
        (sends(b"HTTP/1.1 200 OK\r\ncontent-ty"), "broke off"),
        (sends(b"SSH-2.0-OpenSSH_9.6\r\n"), "broke off"),
        (sends(head()), "broke off before its answer was finished"),
        (streams(chunk({"content": "a"}), done=False), "broke off before its answer was finished"),
        (streams(*text_chunks("a"), done=False), "broke off before its answer was finished"),
        (sends(head(content_length="900") + event(chunk({"content": "a"}))), "broke off"),
        (streams(chunk({"content": "a"})), "ended its stream without finishing its answer"),
        (streams(), "ended its stream without finishing"),
        (says({"choices": []}), "answers with 'application/json' instead of a stream"),
        (sends(head(kind="text/html") + b"<html>"), "answers with 'text/html' instead of a stream"),
        (sends(head(content_encoding="gzip") + b"\x1f\x8b"), "compressed"),
        (streams(b"{not json"), "no JSON object"),
        (streams(b"[1, 2]"), "no JSON object"),
        (streams(b"[" * 100_000), "no JSON object"),
        (streams(b'{"n": ' + b"1" * 5000 + b"}"), "no JSON object"),
        (streams(b"\xff\xfe"), "bytes that are no text"),
        (streams({"choices": 5}), "choices that are no list"),
        (streams({"choices": [5]}), "another choice"),
        (streams({"choices": [{"index": 1, "delta": {}}]}), "another choice"),
        (streams({"choices": [{"delta": [1]}]}), "a delta that is no object"),
        (streams(chunk({"content": 5})), "content that is no text"),
        (streams(chunk({"tool_calls": {"index": 0}})), "tool_calls that are no list"),
        (streams(chunk({"tool_calls": [5]})), "a tool call that is none"),
        (streams(chunk({"tool_calls": [{"index": "0", "function": {}}]})), "a tool call that is none"),
        (streams(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})), "without a name"),
        (streams(chunk({"tool_calls": [{"function": {"name": "x", "arguments": {}}}]})), "arguments that"),
        (streams(*[chunk({"tool_calls": [{"index": n, "function": {"name": "x"}}]}) for n in range(129)]),
         "more than 128 tools"),
        (streams({"usage": {"prompt_tokens": -1, "completion_tokens": 1}}), "token counts that are none"),
        (streams({"usage": {"prompt_tokens": True, "completion_tokens": 1}}), "token counts that are none"),
        (streams({"usage": [1]}), "token counts that are none"),
        (streams({"error": {"message": "no memory", "code": 500}}), "says (500): no memory"),
        (streams({"error": "dead"}), "says (500): dead"),
    ],
)  # fmt: skip
async def test_what_is_no_answer_is_an_error_of_the_upstream(script: Script, told: str) -> None:
    error = await error_of(script)
    assert isinstance(error, BackendError)
    assert told in str(error)


@pytest.mark.parametrize(
    "logprobs",
    [5, {"content": 5}, {"content": [5]}, {"content": [{"token": "a"}]},
     {"content": [{"token": "a", "logprob": "x"}]}, {"content": [{"token": "a", "logprob": float("nan")}]},
     {"content": [{"token": 5, "logprob": 0}]}, {"content": [{"token": "a", "logprob": 0, "bytes": [999]}]},
     {"content": [{"token": "a", "logprob": 0, "top_logprobs": 5}]}],
)  # fmt: skip
async def test_log_probabilities_that_are_none(logprobs: Any) -> None:
    script = streams(chunk({"content": "a"}, logprobs=logprobs), chunk({}, "stop"))
    error = await error_of(script, chat(options=SamplingOptions(top_logprobs=1)))
    assert isinstance(error, BackendError) and "log" in str(error)


async def test_lines_and_answers_are_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_MAX_LINE_BYTES", 2**20)
    assert "a line of more than 1 MiB" in str(await error_of(sends(head() + b"data: " + b"x" * 2**21)))
    monkeypatch.setattr(connection, "_MAX_STREAM_BYTES", 2**20)
    pieces = [chunk({"content": "x" * 1000})] * 1100
    assert "answers with more than 1 MiB" in str(await error_of(streams(*pieces)))


async def test_an_answer_may_be_written_loosely() -> None:
    """Comments, names of events, other line ends, no blank lines, and no end of the last line."""
    lines = [b": ping", b"event: message", b'data:{"choices":[{"delta":{"content":"a"}}]}', b"",
             b'data: {"choices":[{"delta":{},"finish_reason":"eos"}]}', b"data: [DONE]"]  # fmt: skip
    async with wire_server(
        sends(head(kind="Text/Event-Stream; charset=utf-8") + b"\r\n".join(lines))
    ) as server:
        result = await answer(service_of(server), chat())
    assert (result.text, result.finish_reason) == ("a", "stop")
    assert result.notices[0] == "The upstream ended the answer for a reason of its own."


@pytest.mark.parametrize(
    ("status", "body", "kind", "param", "told"),
    [
        (400, {"error": {"message": "no top_k", "param": "top_k"}}, InputError, "top_k", "no top_k"),
        (400, {"error": {"message": "x", "param": "a b\n"}}, InputError, None, "x"),
        (400, {"error": {"message": "m", "code": "context_length_exceeded"}}, PromptTooLongError, "messages",
         "m"),
        (400, {"error": {"message": "m", "type": "exceed_context_size_error"}}, PromptTooLongError,
         "messages", "m"),
        (400, {"object": "error", "message": "of vLLM"}, InputError, None, "of vLLM"),
        (400, {"error": "of Ollama"}, InputError, None, "of Ollama"),
        (400, b"<html>", InputError, None, "nothing that explains it"),
        (400, {"error": {"message": ["x"]}}, InputError, None, "nothing that explains it"),
        (404, {"error": {"message": "no such model"}}, InputError, "model", "no such model"),
        (408, {"error": {"message": "slow"}}, BackendError, None, "slow"),
        (422, {"error": {"message": "odd"}}, InputError, None, "odd"),
        (429, {"error": {"message": "slowly"}}, CapacityError, None, "slowly"),
        (503, {"error": {"message": "full"}}, CapacityError, None, "full"),
        (500, {"error": {"message": "crash"}}, BackendError, None, "crash"),
        (204, b"", BackendError, None, "nothing that explains it"),
    ],
)  # fmt: skip
async def test_a_refusal_comes_back_in_the_upstreams_words(
    status: int, body: Any, kind: type[LocalGPTError], param: str | None, told: str
) -> None:
    error = await error_of(says(body, status))
    assert type(error) is kind and getattr(error, "param", None) == param
    assert str(error) == f"upstream box says ({status}): {told}"


@pytest.mark.parametrize(
    ("wait", "seconds"), [("7", 7.0), ("0", None), ("-1", None), ("1e9", None), ("Sat", None)]
)
async def test_how_long_to_wait_is_passed_on(wait: str, seconds: float | None) -> None:
    error = await error_of(says({"error": "full"}, 503, retry_after=wait))
    assert isinstance(error, CapacityError) and error.retry_after_s == seconds


@pytest.mark.parametrize("status", [401, 403])
async def test_the_words_of_a_wrong_key_are_kept_back(status: int) -> None:
    script = says({"error": {"message": f"Incorrect API key provided: {KEY}"}}, status)
    error = await error_of(script, key=KEY)
    assert isinstance(error, BackendError) and "refuses the key it was given" in str(error)
    assert KEY not in str(error) and "Incorrect" not in str(error)
    assert "refuses requests without a key" in str(await error_of(script))


async def test_a_message_holds_no_key_and_nothing_a_terminal_obeys() -> None:
    script = says({"error": {"message": f"bad\n\x1b[31m{KEY} \u202e" + "x" * 9999}}, 400)
    words = str(await error_of(script, key=KEY))
    assert KEY not in words and words.isprintable() and words.endswith("xxx...") and len(words) < 600
    assert "bad [31m[key]" in words


async def test_redirects_are_not_followed() -> None:
    async with wire_server(streams(*text_chunks("elsewhere"))) as other:
        script = says(b"", 307, location=f"{other.url}/chat/completions")
        error = await error_of(script, key=KEY)
        assert isinstance(error, BackendError) and "redirects to another address" in str(error)
        assert not other.asked


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with wire_server(sends(b"")) as proxy, wire_server(streams(*text_chunks("ok"))) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert (await answer(service_of(server), chat())).text == "ok"
        assert not proxy.asked and "authorization" not in server.last.headers


@pytest.mark.parametrize(
    "body",
    [b"{", [1], {}, {"data": 5}, {"data": []}, {"data": [{"embedding": [1.0]}]},
     {"data": [{"embedding": [1.0]}, 5]}, {"data": [{"index": 0, "embedding": [1.0]}] * 2},
     {"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]},
     {"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]},
     {"data": [{"embedding": [1.0]}, {"embedding": []}]},
     {"data": [{"embedding": [1.0]}, {"embedding": [0]}]},
     {"data": [{"embedding": [1.0]}, {"embedding": ["1"]}]},
     {"data": [{"embedding": [1.0]}, {"embedding": "AA"}]},
     {"data": [{"embedding": [1.0]}, {"embedding": [float("nan")]}]},
     {"data": [{"embedding": [1.0]}, {"embedding": [10**400]}]}],
)  # fmt: skip
async def test_vectors_that_are_none(body: Any) -> None:
    assert isinstance(await error_of(says(body), EMBED), BackendError)
