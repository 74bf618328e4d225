"""`MultimodalPipeline`: the published Python API, synchronous, over the same service as every other face.

from localgpt import MultimodalPipeline

pipeline = MultimodalPipeline.from_pretrained("local/multimodal-base")
print(pipeline.image_to_text("photo.jpg", max_length=100)["generated_text"])
"""

from __future__ import annotations

import asyncio
import threading
import uuid
import warnings
from collections.abc import Coroutine, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from localgpt.errors import ConfigError, InputError
from localgpt.media.provenance.label import KEY_FILE
from localgpt.runtime.finishing import PictureOptions
from localgpt.runtime.loading import LoadOptions, load_service
from localgpt.runtime.remembering import CacheOptions
from localgpt.settings import build_settings, data_folder
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    AskRequest,
    AudioPart,
    ChatRequest,
    ChatResult,
    DescribeRequest,
    DetectRequest,
    DetectResult,
    EmbedRequest,
    EmbedResult,
    ImagePart,
    Language,
    ListenRequest,
    ListenResult,
    Message,
    PaintRequest,
    PaintResult,
    Request,
    SamplingOptions,
    SpeakRequest,
    SpeakResult,
    TaskService,
    TextPart,
)
from localgpt.tasks.shapes import objects_of, transcript_of

__all__ = ["MultimodalPipeline"]

ImageSource = str | Path | bytes
T = TypeVar("T")
Q = TypeVar("Q", PaintRequest, ListenRequest, SpeakRequest, DetectRequest)
R = TypeVar("R", ChatResult, PaintResult, ListenResult, SpeakResult, DetectResult)


class MultimodalPipeline:
    """Chat, describe, ask, embed, paint, listen, speak and detect, one call at a time.

    Use it as a context manager, or call `close`.

    Args:
        service: does the work; `from_pretrained` makes one.
    """

    def __init__(self, service: TaskService) -> None:
        self._service = service
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="localgpt-pipeline", daemon=True)
        self._thread.start()

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "local/multimodal-base",
        *,
        device: str = "auto",
        fp16: bool = False,
        quantize: Literal["auto", "none", "int8", "int4"] = "auto",
        max_batch_size: int = 1,
        use_cache: bool = False,
    ) -> Self:
        """Load a model.

        Args:
            model: "local/multimodal-base", a model folder, a file written by `localgpt models export`, or the
                name of a pulled model.
            device: "auto", "cpu", "cuda:N", "rocm:N", "opencl:N" or "mps"; an absent one becomes the CPU,
                with a warning.
            fp16: half precision weights on a GPU.
            quantize: weights of an open model; "auto" takes the most precise that fit.
            max_batch_size: answers made at once.
            use_cache: answer the same question quicker the next time, in the same words; not of open models.

        Raises:
            LocalGPTError: the model or the device cannot be used.
        """
        settings = build_settings()
        options = LoadOptions(
            model=str(model),
            device=device,
            fp16=fp16,
            quantize=quantize,
            max_batch_size=max_batch_size,
            cache=CacheOptions(keeps_answers=use_cache),
            data_folder=data_folder(settings),
            pictures=PictureOptions(
                filter=settings.picture_filter,
                words_file=settings.picture_filter_words,
                has_labels=settings.picture_labels,
                producer=settings.picture_producer,
                key_file=data_folder(settings) / KEY_FILE,
            ),
        )
        service = load_service(options)
        pipeline = cls(service)
        for notice in pipeline._call(service.status()).notices:
            warnings.warn(notice, UserWarning, stacklevel=2)
        return pipeline

    def image_to_text(
        self, image: ImageSource, *, max_length: int = 64, language: Language = "en"
    ) -> dict[str, Any]:
        """Describe a picture.

        Args:
            image: path or encoded bytes (JPEG, PNG, WebP, GIF, HEIC ...).
            max_length: most tokens of the description.
            language: "en" or "zh".

        Returns:
            {"generated_text": ...}.

        Raises:
            InputError: no such file, not a picture, or too large; or `max_length` is below 1.
        """
        options = _greedy(max_length)
        request = DescribeRequest(id=_new_id(), image=_image(image), language=language, options=options)
        return self._answer(request)

    def ask(self, image: ImageSource, question: str, *, max_length: int = 128) -> dict[str, Any]:
        """Answer a question about a picture; arguments and result as for `image_to_text`."""
        options = _greedy(max_length)
        return self._answer(AskRequest(id=_new_id(), image=_image(image), question=question, options=options))

    def chat(
        self, messages: str | Sequence[Message], *, options: SamplingOptions | None = None
    ) -> dict[str, Any]:
        """Answer a prompt or a conversation.

        Args:
            messages: one user's words, or turns in order.
            options: how tokens are chosen.

        Returns:
            {"generated_text": ...}.
        """
        turns = (Message.of("user", messages),) if isinstance(messages, str) else tuple(messages)
        return self._answer(ChatRequest(id=_new_id(), messages=turns, options=options or SamplingOptions()))

    def embed(self, inputs: Sequence[str | ImagePart]) -> list[tuple[float, ...]]:
        """Unit vectors of texts and pictures in one space, in input order."""
        parts = tuple(TextPart(text=item) if isinstance(item, str) else item for item in inputs)
        result = self._call(self._service.run(EmbedRequest(id=_new_id(), inputs=parts)))
        assert isinstance(result, EmbedResult)
        return list(result.embeddings)

    def paint(
        self,
        prompt: str,
        *,
        image: ImageSource | None = None,
        mask: ImageSource | None = None,
        model: str = EMBEDDED_MODEL_ID,
        **options: Any,
    ) -> dict[str, Any]:
        """Paint pictures.

        Args:
            prompt: what to paint.
            image: path or encoded bytes of a picture to begin from.
            mask: of `image`: white is painted over, black stays.
            model: a pulled model's name, where the pipeline's own does not paint.
            options: width, height, num_steps, guidance_scale, negative_prompt, strength, seed, num_images.

        Returns:
            {"images": [PNG bytes ...], "seeds": [...], "width", "height", "seconds"}.

        Raises:
            InputError: something cannot be painted so, or by this model; says what can be.
        """
        request = _request(
            PaintRequest,
            options,
            prompt=prompt,
            image=None if image is None else _image(image),
            mask=None if mask is None else _image(mask, param="mask"),
            model=model,
        )
        result = self._run(request, PaintResult)
        return {
            "images": [painted.data for painted in result.images],
            "seeds": [painted.seed for painted in result.images],
            "width": result.images[0].width,
            "height": result.images[0].height,
            "seconds": result.seconds,
        }

    def listen(
        self, audio: str | Path | bytes, *, model: str = EMBEDDED_MODEL_ID, **options: Any
    ) -> dict[str, Any]:
        """Write down what is said.

        Args:
            audio: path or encoded bytes of a recording (WAV, MP3, FLAC, M4A ...), of any length.
            model: a pulled model's name, where the pipeline's own does not listen.
            options: language, translate, timestamps ("none", "segment", "word"), prompt, temperature, seed.

        Returns:
            {"text", "language", "segments"}, and "words" with `timestamps="word"`.

        Raises:
            InputError: no such file, or it cannot be heard so, or by this model.
        """
        request = _request(ListenRequest, options, audio=_recording(audio), model=model)
        result = self._run(request, ListenResult)
        return transcript_of(result, with_words=request.timestamps == "word")

    def speak(self, text: str, *, model: str = EMBEDDED_MODEL_ID, **options: Any) -> dict[str, Any]:
        """Say a text.

        Args:
            text: what to say.
            model: a pulled model's name, where the pipeline's own does not speak.
            options: voice, language, speed, seed, sample_rate, format ("wav", "mp3", "flac", "opus", "aac",
                "pcm").

        Returns:
            {"audio": bytes of a file, "sample_rate", "seconds"}.

        Raises:
            InputError: it cannot be said so, or by this model.
        """
        result = self._run(_request(SpeakRequest, options, text=text, model=model), SpeakResult)
        return {"audio": result.data, "sample_rate": result.sample_rate, "seconds": result.duration_s}

    def detect(self, image: ImageSource, *, model: str = EMBEDDED_MODEL_ID, **options: Any) -> dict[str, Any]:
        """Find objects in a picture.

        Args:
            image: path or encoded bytes.
            model: a pulled model's name, where the pipeline's own does not detect.
            options: labels, threshold, max_objects.

        Returns:
            {"objects": [{"label", "score", "box_xyxy"}]}, surest first, in pixels of the upright picture.

        Raises:
            InputError: no picture, an unknown label, or a model that cannot.
        """
        request = _request(DetectRequest, options, image=_image(image), model=model)
        return objects_of(self._run(request, DetectResult))

    def close(self) -> None:
        """Free the models. May be called twice."""
        if self._thread.is_alive():
            self._call(self._service.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, request: ChatRequest | AskRequest | DescribeRequest) -> dict[str, Any]:
        return {"generated_text": self._run(request, ChatResult, stacklevel=4).text}

    def _run(self, request: Request, kind: type[R], *, stacklevel: int = 3) -> R:
        """The result; its notices are warnings about the line that called the public method."""
        result = self._call(self._service.run(request))
        assert isinstance(result, kind)
        for notice in result.notices:
            warnings.warn(notice, UserWarning, stacklevel=stacklevel)
        return result

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise ConfigError("the pipeline is closed; make another one with from_pretrained")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()  # or the answer would go on being made
            raise


def _new_id() -> str:
    return uuid.uuid4().hex


def _greedy(max_length: int) -> SamplingOptions:
    if max_length < 1:
        raise InputError(f"max_length is {max_length!r}; expected 1 or more", param="max_length")
    return SamplingOptions(temperature=0.0, max_tokens=max_length)


def _request(kind: type[Q], options: dict[str, Any], **values: Any) -> Q:
    """A request of the options that a caller gave."""
    known = (
        {field.name for field in fields(kind)} - {"id", "owner", "deadline_s", "num_previews"} - set(values)
    )
    if unknown := sorted(set(options) - known):
        raise InputError(
            f"unknown option {unknown[0]!r}; expected one of {', '.join(sorted(known))}", param=unknown[0]
        )
    if (labels := options.get("labels")) is not None:
        options = {**options, "labels": (labels,) if isinstance(labels, str) else tuple(labels)}
    return kind(id=_new_id(), **values, **options)


def _image(source: ImageSource, *, param: str = "image") -> ImagePart:
    return ImagePart(data=_bytes(source, param))


def _recording(source: str | Path | bytes) -> AudioPart:
    """A recording: a file stays where it is, and is read as it is heard."""
    if isinstance(source, bytes):
        return AudioPart(data=source)
    path = Path(source).absolute()
    if not path.is_file():
        return AudioPart(data=_bytes(path, "audio"))  # a pipe, or what says why it cannot be read
    return AudioPart(path=str(path))


def _bytes(source: str | Path | bytes, param: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        what = "recording" if param == "audio" else "picture"
        raise InputError(f"cannot read the {what} {source}: {error.strerror or error}", param=param) from None
