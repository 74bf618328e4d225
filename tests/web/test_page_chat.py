"""Chatting: first sight, streaming, stop, regenerate, edit and branch, errors, keyboard."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from localgpt.errors import CapacityError, InputError
from tests.web.conftest import LiveServer, Visit
from tests.web.steps import BOX, LAST_ANSWER, OPEN, converse, is_idle, say

pytestmark = pytest.mark.browser


def test_first_visit_begins_with_the_tour(
    serve: Callable[..., LiveServer], visitor: Callable[..., Visit]
) -> None:
    live = serve(tour=True)
    live.service.deltas = ("I am LocalGPT.",)
    visit = visitor(live.url)
    page = visit.page
    tour = page.get_by_role("dialog", name="Introduction")
    expect(tour).to_contain_text("It stays on your computer")
    expect(tour).to_contain_text("encrypted")
    tour.get_by_role("button", name="Next").click()
    expect(tour).to_contain_text("What is the capital of France?")
    expect(tour).to_contain_text("法国的首都是哪里？")
    tour.get_by_role("button", name="Next").click()
    expect(tour).to_contain_text("It is not ChatGPT")
    tour.get_by_role("button", name="Back").click()
    with page.expect_response(lambda reply: reply.url.endswith("/api/settings") and reply.ok):
        tour.get_by_role("button", name="Who are you?").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("I am LocalGPT.")
    page.reload()
    expect(page.locator(OPEN)).to_have_count(1)
    expect(tour).to_have_count(0)
    page.get_by_role("button", name="What it can and cannot do").click()
    expect(tour).to_be_visible()
    page.keyboard.press("Escape")
    expect(tour).to_have_count(0)
    assert visit.problems == []


def test_welcome(visit: Visit) -> None:
    page = visit.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Ask anything. It stays here.")
    expect(page.locator(".examples button")).to_have_count(4)
    expect(page.get_by_text("can be wrong: check what matters")).to_be_visible()
    expect(page.get_by_text("Nothing leaves this computer")).to_be_visible()
    expect(page.locator(BOX)).to_be_focused()
    assert page.evaluate("document.documentElement.lang") == "en"
    assert visit.problems == []


def test_chat_streams_and_is_kept(visit: Visit, live: LiveServer) -> None:
    page, service = visit.page, live.service
    live.hold()
    service.deltas = ("Par", "is is the **capital**.")
    page.locator(".examples button").first.click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Par")  # the rest has not been made yet
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.locator("[aria-live=polite]")).to_contain_text("LocalGPT is answering")
    live.release()
    expect(page.locator(LAST_ANSWER).locator("strong")).to_have_text("capital")
    expect(page.locator("[aria-live=polite]")).to_contain_text("Paris is the **capital**.")
    converse(page, "And of Peru?")
    assert "Peru" not in page.evaluate("JSON.stringify({ ...localStorage })")  # only the server keeps it
    assert [message.role for message in service.chat.messages] == ["user", "assistant", "user"]
    page.reload()
    page.locator(OPEN).click()
    expect(page.locator("article.answered")).to_have_count(2)
    expect(page.locator(OPEN)).to_have_text("What is the capital of France?")
    assert visit.problems == []


def test_streamed_and_reloaded_answers_look_the_same(visit: Visit, live: LiveServer) -> None:
    text = (
        "# Title\n\nOne *two*\nthree `four`\n\n- a\n- b\n\n  still b\n- c\n\n"
        "```python\nx = 1\n\n\ny = 2\n```\n"
        "\n| a | b |\n|---|--:|\n| 1 | $2$ |\n\n$$\nx^2\n$$\n\nEnd &amp; <b>no</b>.\n\n1. one\n2. two\n"
    )
    live.service.deltas = tuple(text)
    page = visit.page
    converse(page, "Show everything")
    prose = page.locator(LAST_ANSWER).locator(".prose")
    expect(prose.locator("math")).to_have_count(2)
    expect(prose.locator(".hljs-number")).to_have_count(2)
    streamed = prose.inner_html()
    page.reload()
    page.locator(OPEN).click()
    expect(prose.locator("math")).to_have_count(2)
    expect(prose.locator(".hljs-number")).to_have_count(2)
    assert prose.inner_html() == streamed
    expect(prose).to_contain_text("End & <b>no</b>.")
    assert visit.problems == []


def test_code_and_messages_are_copied(visitor: Callable[..., Visit], live: LiveServer) -> None:
    live.service.deltas = ("See:\n\n```js\nlet a = 1;\n```\n",)
    visit = visitor(live.url, permissions=["clipboard-read", "clipboard-write"])
    page = visit.page
    converse(page, "Code")
    page.locator("figure.code").get_by_role("button", name="Copy").click()
    expect(page.locator("figure.code").get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "let a = 1;"
    page.locator(LAST_ANSWER).get_by_role("button", name="Copy the message").click()
    expect(page.locator(LAST_ANSWER).locator(".actions").get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == live.service.deltas[0]
    assert visit.problems == []


def test_stop_keeps_what_was_said(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    live.hold()
    say(page, "Tell me everything")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello")
    page.keyboard.press("Escape")
    expect(page.locator(LAST_ANSWER)).to_contain_text("You stopped this answer.")
    is_idle(page)  # the server has noticed
    live.release()
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    is_idle(page)
    expect(page.locator("article.answered")).to_have_count(1)
    page.get_by_role("button", name="Earlier version").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("You stopped this answer.")
    page.reload()
    page.locator(OPEN).click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("You stopped this answer.")
    assert live.service.num_cancelled == 1
    assert visit.problems == []


def test_regenerate_and_switch_branches(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    converse(page, "Hi")
    live.service.deltas = ("Another answer.",)
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Another answer.")
    expect(page.get_by_role("group", name="2 of 2")).to_be_visible()
    is_idle(page)
    with page.expect_response(lambda reply: reply.request.method == "PATCH" and reply.ok):
        page.get_by_role("button", name="Earlier version").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    page.reload()
    page.locator(OPEN).click()
    expect(page.get_by_role("group", name="1 of 2")).to_be_visible()
    converse(page, "Go on")
    assert "Hello, world." in str(live.service.chat.messages[1].content)
    assert visit.problems == []


def test_edit_makes_a_branch(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    converse(page, "First wording")
    converse(page, "Second question")
    page.locator("article.asked").first.hover()
    page.get_by_role("button", name="Edit the message").first.click()
    editor = page.get_by_role("textbox", name="Edit the message")
    expect(editor).to_be_focused()
    editor.fill("Never mind")
    editor.press("Escape")
    expect(editor).to_have_count(0)
    page.get_by_role("button", name="Edit the message").first.click()
    editor.fill("Better wording")
    editor.press("Enter")
    expect(page.locator(".bubble")).to_have_text(["Better wording"])
    is_idle(page)
    assert len(live.service.chat.messages) == 1
    page.get_by_role("button", name="Earlier version").click()
    expect(page.locator(".bubble")).to_have_text(["First wording", "Second question"])
    page.get_by_role("button", name="Later version").click()
    expect(page.locator(".bubble")).to_have_text(["Better wording"])
    assert sorted(m["text"] for m in live.messages() if m["role"] == "user") == [
        "Better wording",
        "First wording",
        "Second question",
    ]
    assert visit.problems == []


def test_full_queue_counts_down_and_can_be_asked_again(visit: Visit, live: LiveServer) -> None:
    page, service = visit.page, live.service
    service.error = CapacityError("the queue is full; try again in a moment")
    say(page, "Hi")
    expect(page.get_by_text("LocalGPT has as much to do as it can take.")).to_be_visible()
    expect(page.locator(".countdown")).to_contain_text("Trying again in")
    service.error = None
    page.get_by_role("button", name="Try now").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    expect(page.locator("article.asked")).to_have_count(1)
    expect(page.locator("article.answered")).to_have_count(1)
    expect(page.locator(".failure")).to_have_count(0)
    assert [message.role for message in service.chat.messages] == ["user"]


def test_full_queue_is_asked_again_by_itself(visit: Visit, live: LiveServer) -> None:
    page, service = visit.page, live.service
    service.error = CapacityError("the queue is full; try again in a moment")
    say(page, "Hi")
    expect(page.locator(".countdown")).to_be_visible()
    service.error = None
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")


def test_refusals_are_told_in_words(visit: Visit, live: LiveServer) -> None:
    page, service = visit.page, live.service
    service.error = InputError("the number 13 is not liked here")
    say(page, "13")
    expect(page.get_by_role("alert")).to_contain_text("This did not work.")
    expect(page.get_by_role("alert")).to_contain_text("the number 13 is not liked here")
    service.error = None
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")


def test_answer_that_breaks_off_keeps_its_words(visit: Visit, live: LiveServer) -> None:
    page, service = visit.page, live.service
    service.late_error = CapacityError("out of memory")
    say(page, "Hi")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello")
    expect(page.locator(LAST_ANSWER).get_by_role("alert")).to_be_visible()
    page.reload()
    page.locator(OPEN).click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello")
    expect(page.locator(LAST_ANSWER).get_by_role("alert")).to_contain_text("out of memory")
    service.late_error = None
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")


def test_notices_are_shown_and_kept(visit: Visit, live: LiveServer) -> None:
    live.service.notices = ("The 2 oldest turns were left out",)
    converse(visit.page, "Hi")
    expect(visit.page.locator(".notice")).to_have_text("The 2 oldest turns were left out")
    visit.page.reload()
    visit.page.locator(OPEN).click()
    expect(visit.page.locator(".notice")).to_have_text("The 2 oldest turns were left out")


def test_keyboard(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    page.fill(BOX, "one")
    page.press(BOX, "Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value(BOX) == "one\ntwo"
    page.press(BOX, "Enter")
    expect(page.locator(".bubble")).to_have_text("one\ntwo")
    is_idle(page)
    expect(page.get_by_role("button", name="Answer again")).to_be_enabled()
    page.press(BOX, "ArrowUp")
    expect(page.get_by_role("textbox", name="Edit the message")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Shift+Escape")
    expect(page.locator(BOX)).to_be_focused()
    page.keyboard.press("Control+Shift+o")
    expect(page.get_by_text("Ask anything. It stays here.")).to_be_visible()
    page.keyboard.press("Control+,")
    dialog = page.get_by_role("dialog", name="Settings")
    expect(dialog).to_be_visible()
    page.keyboard.press("Control+Shift+o")  # a dialog keeps the keys to itself
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator(BOX)).to_be_focused()  # where it was before
    assert visit.problems == []


def test_chinese_input_method_sends_nothing_while_it_composes(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    page.fill(BOX, "nihao")
    page.evaluate(
        """() => document.querySelector("#message").dispatchEvent(new KeyboardEvent(
            "keydown", { key: "Enter", isComposing: true, bubbles: true, cancelable: true }))"""
    )
    expect(page.locator(BOX)).to_have_value("nihao")
    assert live.service.requests == []
