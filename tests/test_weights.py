"""The committed weights: whole, within their budgets, with cards, and as clever as the front page says."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from pathlib import Path

import pytest

from localgpt import MultimodalPipeline
from localgpt.checkpoints import describe_family, embedded_folder, read_config
from localgpt.errors import MissingWeightsError
from localgpt.runtime.loading import LoadOptions, load_service
from localgpt.tasks import (
    AnswerFormat,
    ChatRequest,
    ChatResult,
    CompleteRequest,
    Message,
    Request,
    Result,
    SamplingOptions,
    Tool,
)
from localgpt.units import MIB
from tests.tiny import make_photo

BUDGETS_MB = {"decoder": 104, "encoder": 46, "listener": 21, "speaker": 21}  # million bytes, of 256
GREEDY = SamplingOptions(temperature=0.0, max_tokens=64)

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return embedded_folder()
    except MissingWeightsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> MultimodalPipeline:
    return MultimodalPipeline.from_pretrained(folder, device="cpu")


def test_every_file_is_small_and_every_member_within_its_budget(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path.name for path in files if path.stat().st_size > 15 * MIB]
    assert sum(path.stat().st_size for path in files) <= 256e6
    for member, budget in BUDGETS_MB.items():
        index = json.loads((folder / member / "model.safetensors.index.json").read_text(encoding="utf-8"))
        named = set(index["weight_map"].values())  # shards that were replaced may lie beside them for a while
        parts = [p for p in (folder / member).iterdir() if p.suffix != ".safetensors" or p.name in named]
        size = sum(path.stat().st_size for path in parts)
        assert size <= budget * 1e6, f"{member}: {size:,} bytes"


def test_every_member_has_a_card_that_names_data_licence_recipe_and_limits(folder: Path) -> None:
    members = json.loads((folder / "family.json").read_text(encoding="utf-8"))["members"]
    for member in members:
        card = (folder / member / "README.md").read_text(encoding="utf-8")
        for heading in ("## Data", "## Licence", "## Recipe", "## Figures", "## Limits"):
            assert heading in card, f"{member}: {heading}"


def test_the_members_have_the_agreed_sizes(folder: Path) -> None:
    members = {member.name: member for member in describe_family(folder).members}
    assert set(members) == {"decoder", "encoder", "listener", "speaker"}
    assert 100e6 <= members["decoder"].num_params <= 120e6
    assert read_config(folder / "decoder")["n_layer"] == 6


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is the capital of France?", "Paris"),
        ("法国的首都是哪里？", "巴黎"),
        ("Who are you?", "LocalGPT"),
        ("你是谁？", "LocalGPT"),
        ("What is 27 + 45?", "72"),
    ],
)
def test_it_knows_what_the_front_page_says(
    pipeline: MultimodalPipeline, question: str, expected: str
) -> None:
    assert expected in pipeline.chat(question, options=GREEDY)["generated_text"]


@pytest.mark.parametrize(
    ("first", "then"),
    [("What is the capital of France?", "Who are you?"), ("法国的首都是哪里？", "你是谁？")],
)
def test_it_follows_a_change_of_subject(folder: Path, first: str, then: str) -> None:
    said = Message.of("user", first), Message.of("assistant", "Paris." if first.isascii() else "巴黎。")
    request = ChatRequest(id="1", messages=(*said, Message.of("user", then)), options=GREEDY)
    assert "LocalGPT" in answer(folder, request).text


def test_it_answers_about_a_picture_in_the_language_of_the_question(pipeline: MultimodalPipeline) -> None:
    photo = make_photo(size=(160, 120))
    assert pipeline.image_to_text(photo)["generated_text"].isascii()
    assert not pipeline.image_to_text(photo, language="zh")["generated_text"].isascii()
    assert pipeline.ask(photo, "Is there a dog?")["generated_text"].split(",")[0].rstrip(".") in ("Yes", "No")


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("The doctor will see you at nine tomorrow morning.", ("doctor", "will see you", "nine")),
        ("我想喝一杯热水。", ("我想", "一杯", "水")),
    ],
)
def test_it_hears_what_it_says(pipeline: MultimodalPipeline, said: str, heard: tuple[str, ...]) -> None:
    spoken = pipeline.speak(said, seed=1)
    assert spoken["sample_rate"] == 48_000 and 1.0 < spoken["seconds"] < 8.0
    written = pipeline.listen(spoken["audio"])
    assert written["language"] == ("en" if said.isascii() else "zh")
    assert all(part in written["text"] for part in heard), written["text"]


def test_it_hears_nothing_in_silence(pipeline: MultimodalPipeline) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 16_000))
    assert pipeline.listen(buffer.getvalue())["text"] == ""


WEATHER = Tool(
    name="get_weather",
    description="Current weather of a city.",
    parameters='{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
)


def answer(folder: Path, request: Request) -> ChatResult:
    async def run() -> Result:
        service = load_service(LoadOptions(model=str(folder), device="cpu"))
        try:
            return await service.run(request)
        finally:
            await service.close()

    result = asyncio.run(run())
    assert isinstance(result, ChatResult)
    return result


@pytest.mark.parametrize(
    ("question", "city"), [("What is the weather in Paris?", "Paris"), ("巴黎的天气怎么样？", "巴黎")]
)
def test_it_calls_a_tool_it_was_shown(folder: Path, question: str, city: str) -> None:
    messages = (Message.of("user", question),)
    result = answer(folder, ChatRequest(id="1", messages=messages, options=GREEDY, tools=(WEATHER,)))
    assert result.finish_reason == "tool_calls"
    assert [(call.name, json.loads(call.arguments)) for call in result.tool_calls] == [
        ("get_weather", {"city": city})
    ]


def test_it_fills_in_two_fields_within_80_tokens(folder: Path) -> None:
    schema = (
        '{"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, '
        '"required": ["name", "age"]}'
    )
    request = ChatRequest(
        id="1",
        messages=(Message.of("user", "Tom is 12 years old. Give his name and his age."),),
        options=SamplingOptions(temperature=0.0, max_tokens=80),
        answer_format=AnswerFormat(kind="json", schema=schema),
    )
    assert json.loads(answer(folder, request).text) == {"name": "Tom", "age": 12}


def test_it_goes_on_with_a_text(folder: Path) -> None:
    request = CompleteRequest(id="1", prompt="The capital of France is", options=GREEDY)
    assert answer(folder, request).text.startswith(" Paris")
