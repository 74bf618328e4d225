"""Languages, themes, a phone, and a conversation of 500 messages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.web.conftest import LiveServer, Visit
from tests.web.steps import BOX, LAST_ANSWER, OPEN, converse, is_idle, say, settings

pytestmark = pytest.mark.browser
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
PHONE = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}


@pytest.mark.visitor(locale="zh-CN")
def test_chinese_by_the_browser_and_by_choice(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    expect(page.get_by_role("heading", level=1)).to_have_text("尽管问，内容只留在这里。")
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    live.service.deltas = ("法国的首都", "是巴黎。")
    page.locator(".examples button").first.click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("法国的首都是巴黎。")
    with page.expect_response(lambda reply: reply.request.method == "PUT" and reply.ok):
        page.get_by_role("button", name="切换到英文").click()
    expect(page.get_by_role("button", name="New chat").first).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ask anything. It stays here.")
    part = settings(page, "General")
    part.get_by_label("Language").select_option("")
    expect(page.get_by_role("dialog", name="设置")).to_be_visible()
    assert visit.problems == []


def test_theme_follows_and_is_kept(visit: Visit) -> None:
    page = visit.page
    light = page.evaluate(BACKGROUND)
    page.get_by_role("button", name="Dark appearance").click()
    expect(page.locator("body")).not_to_have_css("background-color", light)
    dark = page.evaluate(BACKGROUND)
    page.reload()
    expect(page.get_by_role("button", name="Light appearance")).to_be_visible()
    assert page.evaluate(BACKGROUND) == dark
    part = settings(page, "General")
    part.get_by_text("System", exact=True).click()
    expect(page.locator("body")).to_have_css("background-color", light)
    page.keyboard.press("Escape")
    page.emulate_media(color_scheme="dark")
    expect(page.locator("body")).to_have_css("background-color", dark)
    expect(page.get_by_role("button", name="Light appearance")).to_be_visible()
    assert visit.problems == []


@pytest.mark.visitor(**PHONE)
def test_phone(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    live.service.deltas = (
        "averyveryverylongword" * 20,
        "\n\n```\n" + "x" * 300 + "\n```\n\n$$" + "x+" * 99,
        "x$$",
    )
    expect(page.locator(".sidebar")).to_be_hidden()
    say(page, "Hello")
    expect(page.locator(LAST_ANSWER).locator("pre")).to_be_visible()
    expect(page.locator(LAST_ANSWER).locator("math")).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.querySelector('.thread').scrollWidth") <= 360
    page.get_by_role("button", name="Open the list of conversations").click()
    expect(page.locator(".sidebar")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".sidebar")).to_be_hidden()
    expect(page.get_by_role("button", name="Open the list of conversations")).to_be_focused()
    page.get_by_role("button", name="Open the list of conversations").click()
    page.locator(OPEN).click()
    expect(page.locator(".sidebar")).to_be_hidden()
    page.get_by_role("button", name="Open the list of conversations").click()
    for part in ("General", "Answers", "Models", "Data", "Keys", "Help"):
        settings(page, part)
        assert page.evaluate("document.querySelector('.settings').scrollWidth") <= 360
    page.keyboard.press("Escape")
    assert visit.problems == []


def test_500_messages(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    texts = [f"Message **{n}** with `code`\n\n- a\n- b\n\n$x_{{{n}}}$" for n in range(500)]
    live.remember("Long", *texts)
    visit = visitor(live.url)
    page = visit.page
    page.locator(OPEN).click()
    expect(page.locator("article").last).to_contain_text("Message 499")
    assert page.locator("article").count() <= 80  # what is far up is not drawn
    assert page.evaluate("document.querySelectorAll('*').length") < 4000
    page.evaluate(
        """() => {
            window.drawn = 0;
            const older = "article:not(:nth-last-of-type(-n+3))";
            new MutationObserver((changes) => {
                window.drawn += changes.filter((change) => change.target.closest?.(older)).length;
            }).observe(document.querySelector(".thread"), { childList: true, subtree: true });
        }"""
    )
    live.service.deltas = tuple(f"word{n} " for n in range(200))
    say(page, "One more")
    expect(page.locator(LAST_ANSWER)).to_contain_text("word199")
    is_idle(page)
    assert page.evaluate("window.drawn") < 20  # older messages are not drawn again while an answer streams
    scroller = page.locator(".thread")
    while page.locator(".earlier").count():
        before = page.locator("article").count()
        scroller.evaluate("(box) => { box.scrollTop = 0; }")
        page.wait_for_function("(n) => document.querySelectorAll('article').length > n", arg=before)
    expect(page.locator("article")).to_have_count(502)
    scroller.evaluate("(box) => { box.scrollTop = 0; }")
    expect(page.locator("article").first).to_contain_text("Message **0**")
    expect(page.locator("article").first).to_be_in_viewport()
    page.get_by_role("button", name="To the latest message").click()
    expect(page.locator(LAST_ANSWER).locator(".actions")).to_be_in_viewport()
    page.fill(BOX, "still quick")
    assert visit.problems == []


def test_reader_who_scrolled_away_stays_there(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    live.remember("Long", *(f"Message {n}\n\n" + "line\n\n" * 10 for n in range(12)))
    visit = visitor(live.url)
    page = visit.page
    page.locator(OPEN).click()
    expect(page.locator("article").last).to_be_in_viewport()
    live.hold()
    live.service.deltas = ("Beginning", "\n\nmore" * 60)
    say(page, "Go on")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Beginning")
    page.locator(".thread").evaluate("(box) => { box.scrollTop = 0; }")
    expect(page.get_by_role("button", name="To the latest message")).to_be_visible()
    live.release()
    is_idle(page)
    assert page.locator(".thread").evaluate("(box) => box.scrollTop") == 0
    page.get_by_role("button", name="To the latest message").click()
    converse(page, "And now")
    expect(page.locator(LAST_ANSWER).locator(".actions")).to_be_in_viewport()
    assert visit.problems == []
