"""`LocalService`: the TaskService of this process. Decodes pictures, writes prompts, drives the engine.

Rules told to the caller:

* What a request leaves open is filled in as `questions` says. Prompt and answer share the context, so an
  answer may end with "length" sooner.
* An answer that goes round in circles is ended with "stop"; a notice says so.
* JSON and tool calls are always whole: near the end of their budget they are completed in the shortest way
  that fits, end with "stop" or "tool_calls", and a notice says so. Stop strings cut texts, not tool calls.
* A conversation beyond the context loses its oldest turns first (see `conversation`); a notice says how many.
* The id `local/multimodal-base` always names the family this service runs; any other id must be the
  family's own.
* A description (see `describing`) is the one of several drafts that the others and the picture agree with.
* An embedded text longer than the encoder's 64 tokens is read in windows whose vectors are averaged
  by length; one of more than 32,768 tokens, or 262,144 characters, is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.engine.async_engine import AsyncEngine, within
from localgpt.engine.engine import Engine
from localgpt.engine.sequence import GenerationRequest
from localgpt.errors import ImageFormatError, InputError, PromptTooLongError
from localgpt.media.text.tokenizer import StreamDecoder
from localgpt.media.text.vocabulary import PAD_ID, PAINT_ID, TOOL_CALL_ID
from localgpt.runtime.answers import AnswerWriter, TokenRules
from localgpt.runtime.conversation import Prompt, fit_conversation, fit_document
from localgpt.runtime.describing import picture_to_describe, with_plain_wish
from localgpt.runtime.drafting import Draft, make_drafts, most_told
from localgpt.runtime.embedding import Embedder
from localgpt.runtime.footprint import measure
from localgpt.runtime.holdings import Holdings, MemoryOptions
from localgpt.runtime.lacking import job_of, lacks_job
from localgpt.runtime.memory_status import memory_status
from localgpt.runtime.models import Models
from localgpt.runtime.pictures import PictureReader, ReadPicture
from localgpt.runtime.questions import AnswerRequest, AnswerRules, Question, options_of, question_of, rules_of
from localgpt.runtime.remembering import CacheOptions, make_kept
from localgpt.runtime.texts import TextEmbedder
from localgpt.sampling.grammar import GrammarCompiler
from localgpt.sampling.tokens import check_logit_bias
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    Channel,
    ChatRequest,
    ChatResult,
    EmbedRequest,
    EmbedResult,
    Event,
    Finished,
    ImagePart,
    MediaRequest,
    ModelStatus,
    Notice,
    Request,
    Result,
    Status,
    Usage,
)

__all__ = ["LocalService", "VoiceNotInstalledError"]

_NUM_DECODERS: Final = 2  # pictures decoded at once
_ANSWER_ROOM: Final = 256  # tokens of the context a prompt leaves for the answer, if that many are wanted


class VoiceNotInstalledError(InputError):
    """Channels carry voice, and no voice is installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A request made ready for the engine."""

    generation: GenerationRequest
    new_writer: Callable[[], AnswerWriter]
    notices: tuple[str, ...]
    describes: ImagePart | None  # the picture that is described, by several drafts


class LocalService:
    """Runs a family of models in this process; implements `tasks.TaskService`.

    One instance may be used from several event loops. Model work runs in one thread, which starts with
    the first request and ends with `close`.

    Args:
        family: loaded models, in eval mode, where they shall run.
        max_batch_size: answers made at once; each reserves a context in the cache.
        keep: fraction of a picture's tokens the decoder reads, in (0, 1]; fewer is faster.
        notices: what was downgraded while loading, repeated in `status`.
        device: where the models run, as `status` tells it; None for where the decoder's numbers are.
        memory: how much may be used; fewer answers are made at once when it is short.
        cache: what may be kept of earlier prompts and answers.

    Raises:
        CapacityError: the memory that may be used does not hold one answer.
    """

    def __init__(
        self,
        family: Models,
        *,
        max_batch_size: int = 4,
        keep: float = 1.0,
        notices: Sequence[str] = (),
        device: str | None = None,
        memory: MemoryOptions | None = None,
        cache: CacheOptions | None = None,
    ) -> None:
        cache = cache or CacheOptions()
        self._family = family
        self._device = device or str(family.decoder.device)
        self._holdings = Holdings(family, max_batch_size=max_batch_size, options=memory, place=self._device)
        kept = make_kept(family.decoder, self._holdings, cache, self._device)
        self._runner, self._prefixes = kept.runner, kept.prefixes
        self.notices = (*notices, *self._holdings.notices, *kept.notices)
        self.names = tuple(dict.fromkeys((family.info.id, EMBEDDED_MODEL_ID)))  # that the family answers to
        self.ledger = self._holdings.ledger
        self._holdings.register(self._runner)
        new_stream = partial(StreamDecoder, family.tokenizer)
        self._engine = AsyncEngine(Engine(self._runner, new_stream, answers=kept.answers))
        self._pictures: PictureReader | None = None
        if family.encoder is not None and family.projector is not None:
            self._pictures = PictureReader(
                family.encoder, family.projector, keep=keep, num_remembered=cache.num_pictures
            )
        self._num_image_tokens = self._pictures.num_tokens if self._pictures else 0
        # Few, since a large picture takes memory, and not those of prompts; they end with this object.
        self._decoders = ThreadPoolExecutor(_NUM_DECODERS, thread_name_prefix="localgpt-picture")
        self._grammars = GrammarCompiler(family.tokenizer)
        self._vocab_size = family.decoder.config.vocab_size
        self._token_rules = {
            openers: TokenRules.new(self._vocab_size, openers=openers, device=self._runner.device)
            for openers in map(frozenset, ((), (PAINT_ID,), (TOOL_CALL_ID,), (PAINT_ID, TOOL_CALL_ID)))
        }
        self._footprint = measure(family.decoder, family.encoder, family.projector)

    async def run(self, request: Request) -> Result:
        """Run one request to its end.

        Raises:
            LocalGPTError: the request was refused, failed, or met its deadline.
        """
        if isinstance(request, EmbedRequest):
            return await self._embed(request)
        async with aclosing(self._answer(request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.result
        raise AssertionError("an answer ended without its last event")

    def stream(self, request: Request) -> AsyncIterator[Event]:
        """Run one request for an answer and yield its events; the last one is `Finished`.

        Closing the iterator cancels the work.

        Raises:
            InputError: the request is one to embed, which has no events.
        """
        if isinstance(request, EmbedRequest):
            raise InputError("got a request to embed, expected one with an answer to stream", param="stream")
        return self._answer(request)

    async def open(self, request: Request) -> Channel:
        """Refused until a voice is installed.

        Raises:
            VoiceNotInstalledError: always.
        """
        raise VoiceNotInstalledError(
            "voice is not installed in this version; use chat, describe or ask with text and pictures"
        )

    async def status(self) -> Status:
        """The family, its memory, and how busy it is."""
        info = self._family.info
        tasks = ("chat", "complete", "describe", "ask", "embed") if self._pictures else ("chat", "complete")
        model = ModelStatus(
            id=info.id,
            tasks=tasks,
            num_params=self._footprint.num_params,
            weight_bytes=self._footprint.weight_bytes,
            context_len=self._runner.context_len,
            num_image_tokens=self._num_image_tokens,
            created=info.created,
            licence=info.licence,
        )
        return Status(
            ready=self._engine.is_open,
            device=self._device,
            dtype=self._footprint.dtype,
            models=(model,),
            resident_bytes=self._holdings.resident_bytes(self._runner, self._pictures, self._prefixes),
            num_running=self._engine.num_running,
            num_waiting=self._engine.num_waiting,
            max_batch_size=self._runner.cache.num_slots,
            notices=self.notices,
            memory=memory_status(self._holdings.ledger),
        )

    async def close(self) -> None:
        """End what runs, refuse what comes, and join the model thread. May be called twice."""
        await asyncio.to_thread(self._engine.close)
        await asyncio.to_thread(self._holdings.ledger.close)

    async def _answer(self, request: AnswerRequest | MediaRequest) -> AsyncGenerator[Event, None]:
        deadline = _deadline_of(request)
        job = await within(deadline, self._prepare(request))
        writer = job.new_writer()
        async with AsyncExitStack() as stack:
            reserving = self._holdings.answer(len(job.generation.token_ids), self._runner, self._prefixes)
            smaller = await within(deadline, stack.enter_async_context(reserving))
            notices = (*job.notices, *smaller)
            for text in notices:
                yield Notice(text=text)
            if job.describes is not None:
                drafts = await make_drafts(self._engine, job.generation, job.new_writer, deadline=deadline)
            else:
                outputs = self._engine.generate(job.generation, deadline=deadline)
                async for output in await stack.enter_async_context(aclosing(outputs)):
                    for event in writer.take(output):
                        yield event
                num_reused = output.sequence.num_reused
        if job.describes is not None:  # nothing is held while it waits for room to look
            draft = await within(deadline, self._best_of(drafts, job.describes, request.owner))
            assert draft.last is not None and drafts[0].last is not None
            writer, output = draft.writer, draft.last
            num_reused = drafts[0].last.sequence.num_reused  # the others find what the first one read
            for event in draft.events:
                yield event
        assert output.finish_reason is not None
        usage = Usage(
            prompt_tokens=len(job.generation.token_ids),
            completion_tokens=writer.num_tokens,
            cached_tokens=num_reused,
        )
        result = ChatResult(
            text=writer.text,
            finish_reason=writer.finish_reason(output.finish_reason),
            usage=usage,
            model=self._family.info.id,
            notices=(*notices, *writer.notices),
            tool_calls=writer.tool_calls,
            logprobs=tuple(writer.logprobs),
            paints=writer.paints,
        )
        yield Finished(result=result)

    async def _best_of(self, drafts: list[Draft], image: ImagePart, owner: str) -> Draft:
        """The draft of a picture's description that is told."""
        reader, encode = self._require_pictures("model"), self._family.tokenizer.encode
        picture = await self._read_picture(image, owner, "image")  # mostly known
        texts = list(dict.fromkeys(draft.writer.text for draft in drafts))
        ids = [encode(text)[: reader.window_len] or [PAD_ID] for text in texts]
        async with self._holdings.picture(reader):
            found = await self._engine.call(partial(reader.likeness, picture, ids))
        return most_told(drafts, dict(zip(texts, found, strict=True)))

    async def _prepare(self, request: AnswerRequest | MediaRequest) -> _Job:
        self._require_model(request)
        if isinstance(request, MediaRequest):
            raise lacks_job(self._family.info.id, job_of(request))
        check_logit_bias(request.options.logit_bias, self._vocab_size)
        if (describes := picture_to_describe(request)) is not None:
            request = with_plain_wish(request)
        question = question_of(request)
        rules = await asyncio.to_thread(rules_of, request, self._grammars)
        prompt = await self._write_prompt(question, rules)
        notices = self._notices_about(prompt, question)
        openers = {PAINT_ID} if rules.may_paint and describes is None else set()
        if rules.is_for_calls_only and rules.num_needed <= question.max_tokens:
            openers.add(TOOL_CALL_ID)
        elif rules.is_for_calls_only:
            notices += (
                f"No tool can be called within {question.max_tokens:,} tokens; the shortest call takes "
                f"{rules.num_needed:,}.",
            )
        token_rules = self._token_rules[frozenset(openers)]
        generation = GenerationRequest(
            token_ids=prompt.token_ids,
            options=options_of(request, question.task if describes is None else "describe", rules),
            max_tokens=question.max_tokens,
            owner=request.owner,
            image_tokens=await self._image_tokens(prompt.images, request.owner, question.image_param),
            banned_first=token_rules.banned_first,
            banned=token_rules.banned,
            ends_loops=True,
            grammar=rules.grammar,
            grammar_opener=TOOL_CALL_ID if rules.is_for_calls_only else None,
            call_id=TOOL_CALL_ID,
        )
        may_paint = isinstance(request, ChatRequest) and request.painting is not None
        new_writer = partial(AnswerWriter, self._family.tokenizer, question.language, may_paint=may_paint)
        return _Job(generation=generation, new_writer=new_writer, notices=notices, describes=describes)

    def _notices_about(self, prompt: Prompt, question: Question) -> tuple[str, ...]:
        """What of a conversation was left out of its prompt, if that is allowed."""
        if not prompt.num_left_out:
            return ()
        context_len = self._runner.context_len
        if not question.may_leave_out:
            raise PromptTooLongError(
                f"the conversation is longer than the model's context ({context_len:,} tokens) "
                "and no turn may be left out; shorten it, or let the oldest turns be left out",
                param="messages",
            )
        return (
            f"The conversation is longer than the model's context ({context_len:,} tokens); "
            f"the oldest turns were left out: {prompt.num_left_out}.",
        )

    async def _write_prompt(self, question: Question, rules: AnswerRules) -> Prompt:
        context_len, tokenizer = self._runner.context_len, self._family.tokenizer
        room = min(question.max_tokens, max(rules.num_needed, min(_ANSWER_ROOM, context_len // 4)))
        if isinstance(question.said, str):
            write = partial(fit_document, tokenizer, question.said)
        else:
            write = partial(
                fit_conversation, tokenizer, question.said, num_image_tokens=self._num_image_tokens
            )
        try:
            return await asyncio.to_thread(write, max_tokens=context_len - room)
        except PromptTooLongError as error:
            error.param = question.param
            raise

    async def _image_tokens(self, images: Sequence[ImagePart], owner: str, param: str) -> Tensor | None:
        """Tokens (N, C) of all pictures of a prompt, in order."""
        if not images:
            return None
        pictures = [await self._read_picture(image, owner, param) for image in images]
        return torch.cat([picture.tokens for picture in pictures])

    async def _read_picture(self, image: ImagePart, owner: str, param: str) -> ReadPicture:
        """A picture as it was read before, or is read now."""
        reader = self._require_pictures(param)
        known = reader.cache.get(image.data, owner)
        if known is None:
            pixels = await self._pixels(reader, image, param)
            async with self._holdings.picture(reader):
                known = await self._engine.call(partial(reader.read, image.data, owner, pixels))
        return known

    async def _pixels(self, reader: PictureReader, image: ImagePart, param: str) -> NDArray[np.float32]:
        """A picture decoded in a thread of its own, when it is its turn."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._decoders, reader.read_pixels, image.data)
        except ImageFormatError as error:
            error.param = param
            raise

    async def _embed(self, request: EmbedRequest) -> EmbedResult:
        self._require_model(request)
        reader = self._require_pictures("model")
        texts = TextEmbedder(reader, self._family.tokenizer, self._engine, self._holdings)
        embedder = Embedder(texts, reader, self._engine, self._holdings, self._pixels)
        vectors, num_tokens = await embedder.embed(request, deadline=_deadline_of(request))
        usage = Usage(prompt_tokens=num_tokens, completion_tokens=0)
        return EmbedResult(embeddings=vectors, usage=usage, model=self._family.info.id)

    def _require_model(self, request: Request) -> None:
        if request.model not in self.names:
            raise InputError(
                f"the model {request.model!r} is not known, expected {' or '.join(self.names)}", param="model"
            )

    def _require_pictures(self, param: str) -> PictureReader:
        if self._pictures is None:
            raise InputError(
                f"the model {self._family.info.id} cannot look at pictures or embed: it has no encoder; "
                f"use {EMBEDDED_MODEL_ID}",
                param=param,
            )
        return self._pictures


def _deadline_of(request: Request) -> float | None:
    """The running event loop's time at which the request is given up."""
    if request.deadline_s is None:
        return None
    return asyncio.get_running_loop().time() + request.deadline_s
