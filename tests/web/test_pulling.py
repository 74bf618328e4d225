"""Open models on the page: choosing, the catalogue, getting, checking and removing; and what goes wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from localgpt.errors import (
    CapacityError,
    DiskFullError,
    GatedModelError,
    HubError,
    ImageFormatError,
    LocalGPTError,
    PromptTooLongError,
    RateLimitError,
    UnknownModelError,
    UnsafeCheckpointError,
    WrongHashError,
)
from localgpt.tasks import ModelStatus
from tests.api.fake_keeper import GB, a_copy
from tests.web.conftest import LiveServer, Visit
from tests.web.steps import BOX, LAST_ANSWER, OPEN, converse, say, settings

pytestmark = pytest.mark.browser
SMALL, LARGE = "Qwen/Qwen3-1.7B", "Qwen/Qwen3-4B-Instruct-2507"
PHONE = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}


def serve_more(live: LiveServer, *ids: str) -> None:
    """Let the service have more models to chat with."""
    found: list[ModelStatus] = []
    thread = threading.Thread(target=lambda: found.extend(asyncio.run(live.service.status()).models))
    thread.start()  # the test's own thread has an event loop of the browser's
    thread.join()
    embedded = found[0]
    live.service.more_models = tuple(replace(embedded, id=id, licence="Apache-2.0") for id in ids)


def row(page: Page, name: str) -> Locator:
    heading = page.locator(".model-name strong").get_by_text(name, exact=True)
    return page.locator(".models > .model").filter(has=heading)


@pytest.fixture
def page(visit: Visit) -> Iterator[Page]:
    yield visit.page
    assert visit.problems == []


def test_the_catalogue_says_what_is_here_and_what_fits(page: Page, live: LiveServer) -> None:
    serve_more(live, "qwen3-4b")
    part = settings(page, "Models")
    expect(part).to_contain_text(
        "100.0 GiB free on the disk · 4.0 GiB of memory · fetched from huggingface.co"
    )
    kept = row(page, "qwen3-4b")
    expect(kept).to_contain_text(
        "4.0 B parameters · 7.5 GiB on disk · Apache-2.0 · fits with 8 bits (4.1 GiB)"
    )
    expect(kept.get_by_role("button")).to_have_text(["Use", "Check", "Remove"])
    expect(row(page, "qwen3-1.7b").get_by_role("progressbar")).to_have_attribute("value", str(GB))
    expect(row(page, "qwen3-1.7b")).to_contain_text("Stopped at 25 %: 954 MiB of 3.7 GiB are here.")
    expect(row(page, "qwen3-1.7b").get_by_role("button").first).to_have_text("Go on")
    expect(row(page, "qwen3-32b")).to_contain_text("too large by 15.0 GiB")
    expect(row(page, "sdxl")).to_contain_text("not run in this version")
    expect(row(page, "mms-tts-eng")).to_contain_text("Not for commercial use")
    expect(row(page, "maker/tiny")).to_contain_text("80 MiB on disk")
    expect(row(page, "maker/tiny")).to_contain_text("not offered yet")
    expect(part.get_by_role("heading", level=3)).to_have_text(["On this computer", "Chat", "Paint", "Speak"])
    help = row(page, "llama-3.2-3b")
    help.get_by_text("How to get it").click()
    expect(help.get_by_role("link")).to_have_attribute(
        "href", "https://huggingface.co/meta-llama/Llama-3.2-3B"
    )
    expect(help).to_contain_text("Never type a token into this page")
    expect(page.locator("input[type=password]")).to_have_count(0)


def test_a_pull_is_watched_closed_found_again_and_ends(page: Page, live: LiveServer, visit: Visit) -> None:
    settings(page, "Models")
    button = row(page, "qwen3-1.7b").get_by_role("button", name="Go on: qwen3-1.7b")
    button.focus()
    page.keyboard.press("Enter")
    cancel = row(page, "qwen3-1.7b").get_by_role("button", name="Cancel: qwen3-1.7b")
    expect(cancel).to_be_focused()  # it is the same button
    expect(row(page, "qwen3-1.7b")).to_contain_text("Asking the hub")
    live.work(
        SMALL, total_bytes=4 * GB, here_bytes=2 * GB, bytes_per_s=2e7, remaining_s=100.0,
        file="model-00001-of-00002.safetensors", num_parts=4,
    )  # fmt: skip
    bar = row(page, "qwen3-1.7b").get_by_role("progressbar", name="qwen3-1.7b: Fetching")
    expect(bar).to_have_attribute("value", str(2 * GB))
    expect(row(page, "qwen3-1.7b")).to_contain_text("50 %")
    expect(row(page, "qwen3-1.7b")).to_contain_text("1.9 GiB of 3.7 GiB · 19 MiB/s · 2 min left")
    expect(row(page, "qwen3-1.7b")).to_contain_text("model-00001-of-00002.safetensors, 4 parts at once")
    page.reload()
    settings(page, "Models")
    expect(bar).to_have_attribute("value", str(2 * GB))  # the work is the server's
    second = visit.open()
    settings(second, "Models")
    expect(row(second, "qwen3-1.7b")).to_contain_text("50 %")
    second.close()
    live.work(SMALL, here_bytes=4 * GB, state="checking")
    expect(row(page, "qwen3-1.7b")).to_contain_text("Comparing hashes")
    live.keeper.models = tuple(
        replace(model, copies=(a_copy(4 * GB),), broken_off=()) if model.repo == SMALL else model
        for model in live.keeper.models
    )
    serve_more(live, "qwen3-1.7b")
    live.work(SMALL, state="done")
    expect(row(page, "qwen3-1.7b").get_by_role("button", name="Use: qwen3-1.7b")).to_be_visible()
    page.get_by_role("button", name="Use: qwen3-1.7b").click()
    expect(page.get_by_text("qwen3-1.7b answers from now on.")).to_be_visible()
    expect(page.get_by_role("button", name="In use: qwen3-1.7b")).to_be_visible()
    page.keyboard.press("Escape")
    converse(page, "Hi")
    assert live.service.chat.model == "qwen3-1.7b"


def test_a_row_stays_under_the_hand_that_presses_it(page: Page, live: LiveServer) -> None:
    settings(page, "Models")
    chat = page.locator("section").filter(has=page.get_by_role("heading", name="Chat", exact=True))
    expect(chat.locator(".model-name strong")).to_have_text(["llama-3.2-3b", "qwen3-32b"])
    chat.get_by_role("button", name="Fetch: qwen3-32b").click()
    expect(chat.get_by_role("button", name="Cancel: qwen3-32b")).to_be_focused()
    live.keeper.models = tuple(
        replace(model, copies=(a_copy(),)) if model.id == "qwen3-32b" else model
        for model in live.keeper.models
    )
    live.work("Qwen/Qwen3-32B", state="done")
    expect(chat.get_by_role("button", name="Remove: qwen3-32b")).to_be_visible()
    page.keyboard.press("Escape")
    settings(page, "Models")
    expect(chat.locator(".model-name strong")).to_have_text(["llama-3.2-3b"])
    expect(row(page, "qwen3-32b")).to_be_visible()


def test_cancelling_and_another_model_of_the_hub(page: Page, live: LiveServer) -> None:
    part = settings(page, "Models")
    fetch = part.locator(".model-another").get_by_role("button", name="Fetch")
    part.get_by_label("Another model of the hub").fill("not a name")
    expect(fetch).to_be_disabled()
    part.get_by_label("Another model of the hub").fill("me/mine")
    page.keyboard.press("Enter")
    live_row = row(page, "me/mine")
    expect(live_row).to_contain_text("Asking the hub")
    live_row.get_by_role("button", name="Cancel: me/mine").click()
    expect(live_row).to_have_count(0)
    assert live.keeper.jobs["me/mine"].state == "cancelled"


def test_a_name_that_the_hub_does_not_know_is_told_and_put_away(page: Page, live: LiveServer) -> None:
    part = settings(page, "Models")
    part.get_by_label("Another model of the hub").fill("me/typo")
    page.keyboard.press("Enter")
    expect(row(page, "me/typo")).to_contain_text("Asking the hub")
    live.work("me/typo", state="failed", error=UnknownModelError("no model 'me/typo' on huggingface.co"))
    expect(row(page, "me/typo").get_by_role("alert")).to_contain_text("There is no such model.")
    page.reload()
    settings(page, "Models")
    row(page, "me/typo").get_by_role("button", name="Discard: me/typo").click()
    expect(row(page, "me/typo")).to_have_count(0)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GatedModelError("it is gated: see the hub"), "Its makers want their terms accepted first"),
        (HubError("cannot reach the hub"), "The hub cannot be reached, or broke off. What came is kept"),
        (DiskFullError("needs 9 GiB more"), "The disk is full. Make room, then go on"),
        (WrongHashError("its hash is another"), "What came is not what its makers published"),
        (UnsafeCheckpointError("only as .bin"), "cannot be read without running foreign code"),
    ],
)
def test_each_end_of_a_pull_is_told(page: Page, live: LiveServer, error: LocalGPTError, words: str) -> None:
    settings(page, "Models")
    page.get_by_role("button", name="Fetch: llama-3.2-3b").click()
    failed = row(page, "llama-3.2-3b")
    expect(failed).to_contain_text("Asking the hub")
    live.work("meta-llama/Llama-3.2-3B", state="failed", error=error)
    expect(failed.get_by_role("alert")).to_contain_text(words)
    failed.get_by_text("Details").click()
    expect(failed.get_by_text(str(error))).to_be_visible()
    expect(failed.get_by_role("button", name="Fetch: llama-3.2-3b")).to_be_visible()


def test_checking_and_removing(page: Page, live: LiveServer) -> None:
    settings(page, "Models")
    page.get_by_role("button", name="Check: maker/tiny").click()
    live.work("maker/tiny", total_bytes=80, here_bytes=20)
    expect(row(page, "maker/tiny")).to_contain_text("Reading every file")
    live.work("maker/tiny", here_bytes=80, state="done")
    expect(row(page, "maker/tiny")).to_contain_text("Every file is as it was fetched.")
    page.get_by_role("button", name="Check: qwen3-4b").click()
    expect(row(page, "qwen3-4b")).to_contain_text("Reading every file")
    live.work(LARGE, state="failed", error=WrongHashError("model.safetensors has another hash"))
    expect(row(page, "qwen3-4b")).to_contain_text("Its files are not as they were fetched.")
    page.get_by_role("button", name="Remove: maker/tiny").click()
    confirm = page.get_by_role("dialog", name="Remove maker/tiny from this computer?")
    expect(confirm).to_contain_text("frees 80 MiB")
    expect(confirm.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    assert live.keeper.removed == []
    page.get_by_role("button", name="Remove: maker/tiny").click()
    confirm.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("maker/tiny is removed.")).to_be_visible()
    assert live.keeper.removed == [("maker/tiny", None)]


def test_a_model_is_not_removed_while_it_answers(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    serve_more(live, "qwen3-4b")
    page = visitor(live.url).page
    live.hold()
    live.call("PUT", "settings", {"model": "qwen3-4b"})
    page.reload()
    say(page, "Hi")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello")
    settings(page, "Models")
    page.get_by_role("button", name="Remove: qwen3-4b").click()
    page.get_by_role("dialog", name="Remove qwen3-4b").get_by_role("button", name="Remove").click()
    expect(page.get_by_role("alert")).to_contain_text("This model is answering.")
    live.release()
    assert live.keeper.removed == []


def test_a_conversation_keeps_its_model(page: Page, live: LiveServer) -> None:
    serve_more(live, "qwen3-4b", "maker/tiny")
    page.reload()
    expect(page.locator(".chip")).to_contain_text("multimodal-base")
    converse(page, "First")
    page.locator(".chip").click()
    panel = page.get_by_role("region", name="Model and memory")
    expect(panel.get_by_role("group", name="Answers here")).to_be_visible()
    panel.get_by_role("radio", name="qwen3-4b").check()
    expect(page.locator(".chip")).to_contain_text("qwen3-4b")
    expect(panel.get_by_role("heading", name="Model qwen3-4b")).to_be_visible()
    page.keyboard.press("Escape")
    converse(page, "Second")
    assert live.service.chat.model == "qwen3-4b"
    page.get_by_role("button", name="New chat").first.click()
    expect(page.locator(".chip")).to_contain_text("multimodal-base")
    page.locator(".chip").click()
    panel.get_by_role("radio", name="maker/tiny").check()
    page.keyboard.press("Escape")
    converse(page, "Third")
    assert live.service.chat.model == "maker/tiny"
    page.reload()
    page.locator(OPEN).filter(has_text="First").click()
    expect(page.locator(".chip")).to_contain_text("qwen3-4b")
    part = settings(page, "Models")
    part.get_by_label("Answers new chats").select_option("maker/tiny")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New chat").first.click()
    expect(page.locator(".chip")).to_contain_text("tiny")
    converse(page, "Fourth")
    assert live.service.chat.model == "maker/tiny"


def test_a_model_that_is_gone_is_said_and_others_offered(
    live: LiveServer, visitor: Callable[..., Visit]
) -> None:
    serve_more(live, "qwen3-4b")
    made = live.remember("About France", "Capital?", "Paris.")
    live.call("PATCH", f"conversations/{made}", {"model": "gone/model-7b"})
    page = visitor(live.url).page
    page.locator(OPEN).click()
    gone = page.get_by_role("alert").filter(has_text="gone/model-7b is not here any more")
    expect(gone.get_by_role("button")).to_have_text(
        ["Go on with multimodal-base", "Go on with qwen3-4b", "More models"]
    )
    say(page, "And of Spain?")
    failure = page.locator(LAST_ANSWER).get_by_role("alert")
    expect(failure).to_contain_text("The model of this conversation is not here any more.")
    assert live.service.requests == []  # nobody else answered
    held: list[Route] = []
    page.route(
        "**/api/conversations/*",
        lambda route: held.append(route) if route.request.method == "PATCH" else route.continue_(),
    )
    gone.get_by_role("button", name="Go on with qwen3-4b").click()
    expect(gone).to_have_count(0)
    page.get_by_role("button", name="Try again").click()  # before the server knows of the choice
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    held[0].continue_()
    page.unroute("**/api/conversations/*")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    assert live.service.chat.model == "qwen3-4b"
    live.call("PATCH", f"conversations/{made}", {"model": "gpt-4o"})  # an alias is a name like any other
    page.reload()
    page.locator(OPEN).click()
    expect(page.locator("article")).to_have_count(4)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_model_of_another_machine_says_that_words_leave_this_one(page: Page, live: LiveServer) -> None:
    serve_more(live, "upstream:office/large")
    (away,) = live.service.more_models
    live.service.more_models = (replace(away, upstream="gpu.example.org", leaves_machine=True),)
    page.reload()
    foot = page.locator(".foot")
    expect(foot).to_contain_text("Nothing leaves this computer")
    page.locator(".chip").click()
    choice = page.get_by_role("group", name="Will answer the new chat")
    expect(choice).to_contain_text(
        "What you ask this model leaves this computer: it goes to gpu.example.org."
    )
    choice.get_by_role("radio", name="upstream:office/large").check()
    expect(foot).to_contain_text("it goes to gpu.example.org")
    expect(foot).not_to_contain_text("Nothing leaves")
    expect(page.get_by_role("heading", level=1)).to_have_text("Ask anything.")
    page.keyboard.press("Escape")
    settings(page, "Help").get_by_role("button", name="Show the tour").click()
    tour = page.get_by_role("dialog", name="Introduction")
    expect(tour).to_contain_text("it goes to gpu.example.org")
    expect(tour).not_to_contain_text("is sent anywhere")


def test_who_may_not_fetch_is_told_why(
    serve: Callable[..., LiveServer], visitor: Callable[..., Visit]
) -> None:
    live = serve(api_keys=("sesame",))
    live.keeper.offline_reason = "HF_HUB_OFFLINE=1 says to stay offline; unset it to pull a model"
    user = live.call("POST", "keys", {"name": "Guest", "role": "user"})["key"]
    for key, words in (("sesame", "told to stay offline"), (user, "An administrator can fetch and remove")):
        page = visitor(live.url).page
        page.get_by_label("Key").fill(key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog", name="Sign in")).to_have_count(0)
        if key == user:
            page.get_by_role("button", name="Skip").click()
        part = settings(page, "Models")
        expect(part.get_by_role("note")).to_contain_text(words)
        expect(part.get_by_role("button", name="Fetch")).to_have_count(0)
        expect(part.get_by_role("button", name="Remove: qwen3-4b")).to_have_count(int(key == "sesame"))


REFUSALS: list[tuple[LocalGPTError, str]] = [
    (CapacityError("the queue is full; try again"), "LocalGPT 现在忙不过来。"),
    (RateLimitError("at most 1 request a minute"), "这个密钥的请求次数暂时用完了。"),
    (PromptTooLongError("the prompt has 9,999 tokens"), "内容超过了模型一次能读的长度。"),
    (ImageFormatError("got a damaged PNG picture"), "有图片无法读取。"),
    (ImageFormatError("got a picture of 99,999 x 9 pixels"), "有图片的像素过多。"),
    (UnsafeCheckpointError("a pickle"), "不运行外来代码就无法读取这个模型"),
    (LocalGPTError("something else"), "LocalGPT 没有接受这个请求。"),
]


@pytest.mark.visitor(locale="zh-CN")
def test_refusals_are_told_in_chinese_with_the_servers_words_behind(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    for number, (error, words) in enumerate(REFUSALS):
        live.service.error = error
        page.get_by_role("button", name="新对话").first.click()
        say(page, f"问题 {number}")
        alert = page.locator(LAST_ANSWER).get_by_role("alert")
        expect(alert).to_contain_text(words)
        page.locator(LAST_ANSWER).get_by_text("详情").click()
        expect(page.locator(LAST_ANSWER).get_by_text(str(error))).to_be_visible()
    live.service.error = None
    page.get_by_role("button", name="设置").click()
    page.get_by_role("tab", name="模型").click()
    expect(row(page, "qwen3-32b")).to_contain_text("内存还差 15.0 GiB")
    expect(row(page, "qwen3-4b")).to_contain_text("8 GB 显存的首选。")


@pytest.mark.visitor(**PHONE)
def test_models_on_a_phone(page: Page, live: LiveServer) -> None:
    serve_more(
        live, "qwen3-4b", "a-very-long-owner/a-very-long-name-of-a-model-that-does-not-fit-GGUF-Q4_K_M"
    )
    page.reload()
    page.locator(".chip").click()
    page.get_by_role("radio", name="a-very-long-owner").check()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="More models").click()
    expect(page.get_by_role("tab", name="Models")).to_have_attribute("aria-selected", "true")
    expect(row(page, "qwen3-4b")).to_be_visible()
    assert page.evaluate("document.querySelector('.settings').scrollWidth") <= 360
    for button in row(page, "qwen3-4b").get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None and box["height"] >= 44
    page.keyboard.press("Escape")
    expect(page.locator(BOX)).to_be_visible()
