"""When the server is away, slow, or comes back: nothing typed is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from tests.web.conftest import LiveServer, Visit
from tests.web.steps import BOX, LAST_ANSWER, OPEN, converse, say

pytestmark = pytest.mark.browser


def test_message_waits_for_the_server_and_is_answered(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    converse(page, "Before")
    visit.go_offline()
    say(page, "Meanwhile")
    expect(page.locator(".bubble").last).to_have_text("Meanwhile")
    expect(page.get_by_text("Not sent yet.")).to_be_visible()
    expect(page.locator(".chip")).to_contain_text("Not connected")
    expect(page.locator(".banner")).to_contain_text("localgpt serve")
    visit.context.set_offline(False)
    expect(page.locator("article.answered")).to_have_count(2)
    expect(page.get_by_text("Not sent yet.")).to_have_count(0)
    expect(page.locator(".banner")).to_have_count(0)
    assert [m["text"] for m in live.messages() if m["role"] == "user"] == ["Before", "Meanwhile"]


def test_message_survives_a_reload_and_can_be_tried_again(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    page.route("**/v1/status", lambda route: route.abort())  # it is not tried again by itself
    page.route("**/api/conversations/*/messages", lambda route: route.abort())
    say(page, "Do not lose me")
    expect(page.get_by_text("Not sent yet.")).to_be_visible()
    expect(page.locator(".banner")).to_be_visible()
    page.unroute("**/api/conversations/*/messages")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    page.route("**/api/conversations/*/messages", lambda route: route.abort())
    say(page, "Nor me")
    expect(page.get_by_text("Not sent yet.")).to_be_visible()
    page.unroute("**/api/conversations/*/messages")
    with page.expect_response("**/api/conversations/*/messages"):  # one that is open is answered, too
        page.reload()  # what waited is sent
    page.locator(OPEN).click()
    expect(page.locator(".bubble")).to_have_text(["Do not lose me", "Nor me"])
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.locator("article.answered")).to_have_count(2)
    assert [m["text"] for m in live.messages() if m["role"] == "user"] == ["Do not lose me", "Nor me"]


def test_unsent_message_can_be_discarded(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    page.route("**/api/conversations/*/messages", lambda route: route.abort())
    say(page, "Never mind")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_text("Ask anything. It stays here.")).to_be_visible()
    page.unroute("**/api/conversations/*/messages")
    page.reload()
    expect(page.locator(BOX)).to_be_visible()
    assert live.messages() == []


def test_message_may_be_written_before_the_session_is_known(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    held: dict[str, Route] = {}
    page.route("**/api/session", lambda route: held.setdefault("session", route))
    page.route("**/api/conversations", lambda route: held.setdefault("new conversation", route))
    page.reload()
    with page.expect_request("**/api/conversations"):
        say(page, "At once")
    with page.expect_response("**/api/settings"), page.expect_response("**/api/conversations?*"):
        held["session"].continue_()
    held["new conversation"].continue_()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    assert [m["text"] for m in live.messages() if m["role"] == "user"] == ["At once"]
    assert visit.problems == []


def test_drafts_belong_to_their_conversations(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    live.remember("One", "1")
    live.remember("Two", "2")
    visit = visitor(live.url)
    page = visit.page
    page.fill(BOX, "for a new one")
    page.locator(OPEN, has_text="One").click()
    expect(page.locator(BOX)).to_have_value("")
    page.fill(BOX, "for One")
    page.locator(OPEN, has_text="Two").click()
    expect(page.locator(BOX)).to_have_value("")
    page.reload()
    expect(page.locator(BOX)).to_have_value("for a new one")
    page.locator(OPEN, has_text="One").click()
    expect(page.locator(BOX)).to_have_value("for One")
    assert visit.problems == []


def test_answer_broken_by_a_reload_is_kept(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    live.hold()
    say(page, "Tell me")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello")
    page.reload()
    page.locator(OPEN).click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("You stopped this answer.")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello")
    assert live.service.num_cancelled == 1


def test_list_that_cannot_be_loaded_can_be_tried_again(
    live: LiveServer, visitor: Callable[..., Visit]
) -> None:
    live.remember("One", "1")
    visit = visitor(live.url)
    page = visit.page
    page.route("**/api/conversations?*", lambda route: route.abort())
    page.reload()
    expect(page.get_by_text("The list could not be loaded.")).to_be_visible()
    page.unroute("**/api/conversations?*")
    page.locator(".list").get_by_role("button", name="Try again").click()
    expect(page.locator(OPEN)).to_have_text("One")


def test_models_that_load_are_waited_for(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    live.service.ready = False
    visit = visitor(live.url)
    page = visit.page
    expect(page.locator(".chip")).to_have_text("Loading")
    page.locator(".chip").click()
    expect(page.locator("#status-panel")).to_contain_text("Waiting for the model to load")
    live.service.ready = True
    expect(page.locator(".chip")).to_have_text("Ready · CPU")
    assert visit.problems == []
