"""Panel, settings, data, keys, signing in and out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.web.conftest import LiveServer, Visit
from tests.web.steps import BOX, LAST_ANSWER, OPEN, converse, settings

pytestmark = pytest.mark.browser


def test_panel_tells_model_licence_and_memory(visit: Visit) -> None:
    page = visit.page
    expect(page.locator(".chip")).to_have_text("Ready · CPU")
    page.locator(".chip").click()
    panel = page.get_by_role("region", name="Model and memory")
    for text in (
        "local/multimodal-base",
        "142 M",
        "2,560 tokens",
        "CC BY-NC-SA 4.0",
        "non-commercial",
        "describe pictures",
        "0 of 4",
        "401 MiB",
        "localgpt serve --model FOLDER",
    ):
        expect(panel).to_contain_text(text)
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    assert visit.problems == []


def test_answers_follow_the_settings(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    part = settings(page, "Answers")
    part.get_by_label("System prompt").fill("Speak like a pirate.")
    part.get_by_label("Temperature").fill("7")
    expect(part.get_by_text("Write a number from 0 to 2")).to_be_visible()
    expect(part.get_by_role("button", name="Save")).to_be_disabled()
    part.get_by_label("Temperature").fill("0.5")
    part.get_by_label("Longest answer").fill("64")
    part.get_by_role("button", name="Save").click()
    expect(part.get_by_text("Saved.")).to_be_visible()
    page.keyboard.press("Escape")
    converse(page, "Hi")
    chat = live.service.chat
    assert [message.role for message in chat.messages] == ["system", "user"]
    assert chat.options.temperature == 0.5
    assert chat.options.max_tokens == 64
    page.reload()
    part = settings(page, "Answers")
    expect(part.get_by_label("System prompt")).to_have_value("Speak like a pirate.")
    expect(part.get_by_label("Temperature")).to_have_value("0.5")
    assert visit.problems == []


def test_data_is_counted_and_deleted(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    live.remember("One", "1", "2")
    live.remember("Two", "1")
    live.http.post("/v1/responses", json={"input": "Hi"}).raise_for_status()
    visit = visitor(live.url)
    page = visit.page
    page.locator(OPEN).first.click()
    part = settings(page, "Data")
    rows = part.locator("dl > div")
    expect(rows.filter(has_text="Conversations")).to_contain_text("2")
    expect(rows.filter(has_text="Messages")).to_contain_text("3")
    expect(rows.filter(has_text="Answers to programs")).to_contain_text("1")
    expect(rows.filter(has_text="Encrypted on disk")).to_contain_text("yes")
    expect(rows.filter(has_text="Kept")).to_contain_text("until you delete them")
    part.get_by_role("button", name="Delete all").click()
    confirm = page.get_by_role("dialog", name="Delete every conversation, picture and kept answer?")
    expect(confirm.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(confirm).to_have_count(0)
    expect(part.get_by_role("button", name="Delete all")).to_be_focused()
    part.get_by_role("button", name="Delete all").click()
    confirm.get_by_role("button", name="Yes, delete everything").click()
    expect(rows.filter(has_text="Conversations")).to_contain_text("0")
    page.keyboard.press("Escape")
    expect(page.locator(OPEN)).to_have_count(0)
    expect(page.get_by_text("Ask anything. It stays here.")).to_be_visible()
    assert live.call("GET", "conversations")["data"] == []
    assert live.call("GET", "data")["responses"] == 0
    assert visit.problems == []


def test_keys_are_made_shown_once_and_revoked(visit: Visit, visitor: Callable[..., Visit]) -> None:
    page = visit.page
    part = settings(page, "Keys")
    expect(part.get_by_text("There is no key")).to_be_visible()
    part.get_by_label("Name").fill("<b>My</b> laptop")
    part.get_by_role("button", name="Create key").click()
    secret = part.locator(".new-key code")
    expect(secret).to_contain_text("sk-")
    key = secret.inner_text()
    expect(part.get_by_role("button", name="Copy the key")).to_be_visible()
    expect(part.locator(".keys li")).to_contain_text("<b>My</b> laptop")
    expect(part.locator(".keys li")).to_contain_text("Administrator")
    part.get_by_label("Name").fill("Guest")
    part.get_by_label("Requests per minute").fill("60")
    part.get_by_role("button", name="Create key").click()
    expect(part.locator(".keys li")).to_have_count(2)
    expect(part.locator(".keys li", has_text="Guest")).to_contain_text("never used · 60 a minute")
    guest_key = secret.inner_text()
    assert guest_key != key
    page.reload()  # this browser was signed in with the first key
    expect(page.get_by_role("dialog", name="Sign in")).to_have_count(0)
    part = settings(page, "Keys")
    expect(part.locator(".keys li")).to_have_count(2)
    expect(secret).to_have_count(0)

    guest = visitor(visit.url).page
    guest.get_by_label("Key").fill(guest_key)
    guest.keyboard.press("Enter")
    expect(guest.get_by_role("dialog", name="Sign in")).to_have_count(0)
    guest.get_by_role("button", name="Skip").click()
    settings(guest, "General")
    expect(guest.get_by_role("tab", name="Keys")).to_have_count(0)

    part.get_by_role("button", name="Revoke: Guest").click()
    page.get_by_role("dialog", name="Revoke “Guest”?").get_by_role("button", name="Revoke").click()
    expect(part.locator(".keys li")).to_have_count(1)
    guest.reload()
    expect(guest.get_by_role("dialog", name="Sign in")).to_be_visible()
    assert visit.problems == []


def test_sign_in_and_out(serve: Callable[..., LiveServer], visitor: Callable[..., Visit]) -> None:
    live = serve(api_keys=("sesame",))
    page = visitor(live.url).page
    dialog = page.get_by_role("dialog", name="Sign in")
    page.get_by_label("Key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("That key was not accepted.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    page.get_by_label("Key").fill("sesame")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    converse(page, "Hi")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    assert "sesame" not in page.evaluate(
        "JSON.stringify({...localStorage, ...sessionStorage}) + document.cookie"
    )
    page.reload()
    expect(page.locator(OPEN)).to_have_count(1)
    page.fill(BOX, "a draft that goes with me")
    settings(page, "General").get_by_role("button", name="Sign out").click()
    expect(dialog).to_be_visible()
    expect(page.locator(OPEN)).to_have_count(0)
    assert page.evaluate("Object.keys(localStorage).filter(name => name.includes('draft'))") == []


def test_key_of_older_versions_becomes_a_session(
    serve: Callable[..., LiveServer], visitor: Callable[..., Visit]
) -> None:
    live = serve(api_keys=("sesame",))
    page = visitor(live.url).page
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    page.evaluate("localStorage.setItem('localgpt.key', 'sesame')")
    page.reload()
    expect(page.locator(".chip")).to_have_text("Ready · CPU")
    expect(page.get_by_role("dialog", name="Sign in")).to_have_count(0)
    assert page.evaluate("localStorage.getItem('localgpt.key')") is None


def test_session_that_ends_asks_again_and_keeps_the_message(
    serve: Callable[..., LiveServer], visitor: Callable[..., Visit]
) -> None:
    live = serve(api_keys=("sesame",))
    visit = visitor(live.url)
    page = visit.page
    page.get_by_label("Key").fill("sesame")
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_text("Ready · CPU")
    visit.context.clear_cookies()
    page.fill(BOX, "Keep this")
    page.press(BOX, "Enter")
    page.get_by_label("Key").fill("sesame")
    page.keyboard.press("Enter")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    assert [m["text"] for m in live.messages() if m["role"] == "user"] == ["Keep this"]


def test_somebody_else_gets_nothing_of_what_was_there(
    serve: Callable[..., LiveServer], visitor: Callable[..., Visit]
) -> None:
    live = serve(api_keys=("sesame",))
    other = live.call("POST", "keys", {"name": "Other", "role": "user"})["key"]
    visit = visitor(live.url)
    page = visit.page
    page.get_by_label("Key").fill("sesame")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Sign in")).to_have_count(0)
    converse(page, "Mine alone")
    second = visit.open()
    expect(second.locator(OPEN)).to_have_text("Mine alone")
    visit.context.clear_cookies()
    page.fill(BOX, "In nobody else's name")
    page.press(BOX, "Enter")
    page.get_by_label("Key").fill(other)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Introduction")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(OPEN)).to_have_count(0)
    expect(page.get_by_text("Mine alone")).to_have_count(0)
    settings(page, "General").get_by_role("button", name="Sign out").click()
    for window in (page, second):  # the other window was signed out with it
        expect(window.get_by_role("dialog", name="Sign in")).to_be_visible()
        expect(window.get_by_text("Mine alone")).to_have_count(0)
    live.http.headers["authorization"] = f"Bearer {other}"
    assert live.messages() == []


def test_tour_can_be_seen_again(visit: Visit) -> None:
    page = visit.page
    part = settings(page, "Help")
    expect(part).to_contain_text("No telemetry")
    part.get_by_role("button", name="Show the tour").click()
    tour = page.get_by_role("dialog", name="Introduction")
    for _ in range(3):
        tour.get_by_role("button", name="Next").click()
    tour.get_by_role("button", name="Start").click()
    expect(tour).to_have_count(0)
    assert visit.problems == []
