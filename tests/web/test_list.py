"""The list of conversations: search, rename, delete and undo, export, pages, two windows, moving old ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import LiveServer, Visit
from tests.web.steps import BOX, LAST_ANSWER, OPEN, act, converse, say, settings

pytestmark = pytest.mark.browser


def test_search_finds_titles_and_texts(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    live.remember("Gardening", "When do I plant tulips?", "In autumn.")
    live.remember("花园", "什么时候种郁金香？", "秋天。")
    live.remember("Cooking", "How long for an egg?", "Six minutes.")
    visit = visitor(live.url)
    page = visit.page
    expect(page.locator(OPEN)).to_have_text(["Cooking", "花园", "Gardening"])
    box = page.get_by_role("searchbox")
    box.fill("GARD")
    expect(page.locator(OPEN)).to_have_text(["Gardening"])
    box.fill("minutes")
    expect(page.locator(OPEN)).to_have_text(["Cooking"])
    box.fill("郁金香")
    expect(page.locator(OPEN)).to_have_text(["花园"])
    box.fill("nowhere")
    expect(page.get_by_text("Nothing found for “nowhere”.")).to_be_visible()
    box.press("Escape")
    expect(page.locator(OPEN)).to_have_count(3)
    assert visit.problems == []


def test_rename_in_place(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    live.remember("Old name", "Hi", "Hello")
    visit = visitor(live.url)
    page = visit.page
    page.locator(OPEN).click()
    act(page, "Old name", "Rename")
    field = page.get_by_role("textbox", name="New name")
    expect(field).to_be_focused()
    field.fill("No")
    field.press("Escape")
    expect(page.locator(OPEN)).to_have_text("Old name")
    page.locator(OPEN).press("F2")
    field.fill("New name")
    with page.expect_response(lambda reply: reply.request.method == "PATCH" and reply.ok):
        field.press("Enter")
    expect(page.locator(OPEN)).to_have_text("New name")
    expect(page.locator(OPEN)).to_be_focused()
    expect(page).to_have_title("New name – LocalGPT")
    page.reload()
    expect(page.locator(OPEN)).to_have_text("New name")
    assert visit.problems == []


def test_delete_can_be_undone_and_is_done(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    live.remember("One", "1")
    live.remember("Two", "2")
    visit = visitor(live.url)
    page = visit.page
    page.locator(OPEN, has_text="Two").click()
    act(page, "Two", "Delete")
    expect(page.locator(OPEN)).to_have_text(["One"])
    expect(page.get_by_text("Ask anything. It stays here.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(OPEN)).to_have_text(["Two", "One"])
    assert len(live.call("GET", "conversations")["data"]) == 2
    act(page, "Two", "Delete")
    with page.expect_response(lambda reply: reply.request.method == "DELETE" and reply.ok):
        page.locator(".toast").get_by_role("button", name="Close").click()
    page.reload()
    expect(page.locator(OPEN)).to_have_text(["One"])
    assert [one["title"] for one in live.call("GET", "conversations")["data"]] == ["One"]
    assert visit.problems == []


def saved(page: Page, title: str, action: str) -> tuple[str, str]:
    with page.expect_download() as download:
        act(page, title, action)
    return download.value.suggested_filename, Path(download.value.path()).read_text("utf-8")


def test_export(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    live.remember("Tulips 郁金香", "When?", "In **autumn**.")
    visit = visitor(live.url)
    page = visit.page
    expect(page.locator(OPEN)).to_have_count(1)
    name, text = saved(page, "Tulips 郁金香", "Export as Markdown")
    assert name == "Tulips 郁金香.md"
    assert "# Tulips 郁金香" in text and "In **autumn**." in text
    name, text = saved(page, "Tulips 郁金香", "Export as JSON")
    assert name.endswith(".json")
    assert [m["text"] for m in json.loads(text)["messages"]] == ["When?", "In **autumn**."]
    live.remember("Second", "2")
    page.reload()
    data = settings(page, "Data")
    with page.expect_download() as download:
        data.get_by_role("button", name="Export all").click()
    everything = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert [one["title"] for one in everything["conversations"]] == ["Second", "Tulips 郁金香"]
    assert visit.problems == []


def test_long_lists_come_in_pages(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    for index in range(95):
        live.call("POST", "conversations", {"title": f"Number {index}"})
    visit = visitor(live.url)
    page = visit.page
    expect(page.locator(OPEN).first).to_have_text("Number 94")
    assert page.locator(OPEN).count() < 95
    for shown in (80, 95):  # the last page may come by itself, where the end of the list is in view already
        page.locator(OPEN).last.scroll_into_view_if_needed()
        expect(page.locator(OPEN).nth(shown - 1)).to_be_attached()
    expect(page.locator(OPEN)).to_have_count(95)
    expect(page.locator(OPEN).last).to_have_text("Number 0")
    assert visit.problems == []


def test_two_windows_lose_nothing(visit: Visit, live: LiveServer) -> None:
    first = visit.page
    converse(first, "From the first window")
    second = visit.open()
    second.locator(OPEN).click()
    expect(second.locator("article.answered")).to_have_count(1)
    live.hold()
    say(first, "First again")
    expect(first.locator(LAST_ANSWER)).to_have_attribute("aria-busy", "true")
    say(second, "Second at once")
    expect(second.locator(LAST_ANSWER)).to_have_attribute("aria-busy", "true")
    live.release()
    for page in (first, second):
        expect(page.locator(LAST_ANSWER)).to_have_attribute("aria-busy", "false")
        expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    stored = live.messages()
    assert sorted(m["text"] for m in stored if m["role"] == "user") == [
        "First again",
        "From the first window",
        "Second at once",
    ]
    assert len([m for m in stored if m["role"] == "assistant"]) == 3
    converse(second, "Only in the second")
    expect(first.locator(".bubble", has_text="Only in the second")).to_be_visible()
    assert visit.problems == []


def test_deleted_in_another_window(visit: Visit, live: LiveServer) -> None:
    first = visit.page
    converse(first, "Shared")
    second = visit.open()
    expect(second.locator(OPEN)).to_have_count(1)
    act(second, "Shared", "Delete")
    with second.expect_response(lambda reply: reply.request.method == "DELETE" and reply.ok):
        second.locator(".toast").get_by_role("button", name="Close").click()
    expect(first.locator(OPEN)).to_have_count(0)
    expect(first.get_by_text("This conversation does not exist any more.")).to_be_visible()
    first.fill(BOX, "still here")
    expect(first.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    assert live.call("GET", "conversations")["data"] == []


def test_message_to_a_deleted_conversation_begins_another(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    converse(page, "Shared")
    live.call("DELETE", "conversations")
    say(page, "Too late")
    expect(page.get_by_text("This conversation was deleted in another window.")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    expect(page.locator(".bubble")).to_have_text(["Too late"])
    expect(page.locator(OPEN)).to_have_count(1)
    assert [m["text"] for m in live.messages()] == ["Too late", "Hello, world."]


def test_conversations_of_older_versions_are_moved(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    visit = visitor(live.url)
    page = visit.page
    old = [
        {
            "id": "abc1",
            "title": "From the browser",
            "updated": 1_700_000_000_000,
            "turns": [
                {"id": "t1", "role": "user", "text": "Remember me?", "images": [PIXEL]},
                {"id": "t2", "role": "assistant", "text": "I do.", "ending": "stop"},
            ],
        },
        {"id": "broken", "title": 5},
    ]
    page.evaluate("old => localStorage.setItem('localgpt.conversations.v1', JSON.stringify(old))", old)
    page.reload()
    expect(page.locator(OPEN)).to_have_text("From the browser")
    expect(page.get_by_text("Moved from this browser")).to_be_visible()
    page.locator(OPEN).click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("I do.")
    expect(page.locator("article.asked img")).to_be_visible()
    assert page.evaluate("localStorage.getItem('localgpt.conversations.v1')") is None
    page.reload()
    expect(page.locator(OPEN)).to_have_count(1)
    assert visit.problems == []


PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_an_answer_written_in_another_window_is_waited_for(visit: Visit, live: LiveServer) -> None:
    first = visit.page
    live.hold()
    say(first, "Slowly")
    expect(first.locator(LAST_ANSWER)).to_contain_text("Hello")
    second = visit.open()
    second.locator(OPEN).click()
    expect(second.locator(".pending")).to_be_visible()
    expect(second.get_by_role("button", name="Answer", exact=True)).to_have_count(0)
    live.release()
    expect(second.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    expect(second.locator(".pending")).to_have_count(0)
    assert len(live.service.requests) == 1
    assert visit.problems == []
