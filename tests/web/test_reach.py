"""Everybody can use it: axe finds nothing serious on any screen, and the keyboard reaches everything."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from localgpt.errors import GatedModelError, InputError
from tests.web.conftest import LiveServer, Visit
from tests.web.steps import BOX, LAST_ANSWER, OPEN, act, converse, give_file, png, say, settings

pytestmark = pytest.mark.browser
SERIOUS = ("serious", "critical")
ANSWER = (
    "# Heading\n\nSome **words** with `code` and a [link](https://example.org).\n\n"
    "```python\nx = 'one'  # two\n```\n\n"
    "| a | b |\n|---|---|\n| 1 | $x^2$ |\n\n- [x] done\n\n> said"
)


def examine(page: Page, screen: str) -> None:
    """Let axe look at the page as it stands."""
    found = Axe().run(page).response["violations"]
    told = [
        f"{screen}: {one['id']} ({one['impact']}): {one['help']}: {[n['target'] for n in one['nodes']][:3]}"
        for one in found
        if one["impact"] in SERIOUS
    ]
    assert told == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    serve: Callable[..., LiveServer], visitor: Callable[..., Visit], scheme: str
) -> None:
    live = serve(tour=True)
    live.service.deltas = (ANSWER,)
    live.service.notices = ("The 2 oldest turns were left out",)
    page = visitor(live.url, color_scheme=scheme).page
    tour = page.get_by_role("dialog", name="Introduction")
    for step in range(4):
        expect(tour).to_contain_text(f"Step {step + 1} of 4")
        examine(page, f"tour {step + 1}")
        tour.locator(".is-primary").click()
    expect(tour).to_have_count(0)
    examine(page, "welcome")
    give_file(page, "drop", "red.png", "image/png", png())
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    examine(page, "picture in the composer")
    converse(page, "Look at this")
    expect(page.locator(LAST_ANSWER).locator("math")).to_be_attached()
    expect(page.locator(LAST_ANSWER).locator(".hljs-string")).to_be_attached()
    examine(page, "conversation")
    page.get_by_role("button", name="Answer again").click()
    expect(page.get_by_role("group", name="2 of 2")).to_be_visible()
    page.get_by_role("button", name="View larger: red.png").click()
    expect(page.get_by_role("dialog").get_by_role("img")).to_be_visible()
    examine(page, "large picture")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Edit the message").click()
    examine(page, "editing")
    page.keyboard.press("Escape")
    live.service.error = InputError("no")
    say(page, "Refuse")
    expect(page.get_by_role("alert")).to_be_visible()
    examine(page, "failure")
    page.locator(".chip").click()
    expect(page.locator("#status-panel")).to_contain_text("local/multimodal-base")
    examine(page, "panel")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="More: Look at this").click()
    expect(page.get_by_role("menu")).to_be_visible()
    examine(page, "menu")
    page.keyboard.press("Escape")
    act(page, "Look at this", "Rename")
    examine(page, "renaming")
    page.keyboard.press("Escape")
    for part in ("General", "Answers", "Models", "Data", "Keys", "Help"):
        settings(page, part)
        examine(page, f"settings, {part}")
    settings(page, "Models").get_by_role("button", name="Go on: qwen3-1.7b").click()
    expect(page.get_by_text("Asking the hub")).to_be_visible()
    live.work("Qwen/Qwen3-1.7B", total_bytes=100, here_bytes=40, bytes_per_s=1e6, file="a", num_parts=2)
    page.get_by_role("button", name="Fetch: llama-3.2-3b").click()
    expect(page.get_by_text("Asking the hub")).to_be_visible()
    live.work("meta-llama/Llama-3.2-3B", state="failed", error=GatedModelError("accept the terms"))
    expect(page.get_by_text("Its makers want their terms accepted")).to_be_visible()
    examine(page, "models under way")
    settings(page, "Data").get_by_role("button", name="Delete all").click()
    examine(page, "confirmation")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_on_a_choice_of_models(live: LiveServer, visitor: Callable[..., Visit], scheme: str) -> None:
    live.call("PUT", "settings", {"model": "gone/model"})
    page = visitor(live.url, color_scheme=scheme).page
    expect(page.get_by_text("gone/model is not here any more")).to_be_visible()
    examine(page, "a model that is gone")
    page.locator(".chip").click()
    expect(page.get_by_role("group", name="Will answer the new chat")).to_be_visible()
    examine(page, "choice of models")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_on_signing_in_and_on_a_phone(
    serve: Callable[..., LiveServer], visitor: Callable[..., Visit], scheme: str
) -> None:
    live = serve(api_keys=("sesame",))
    page = visitor(
        live.url,
        color_scheme=scheme,
        locale="zh-CN",
        viewport={"width": 390, "height": 780},
        is_mobile=True,
        has_touch=True,
    ).page
    page.get_by_label("密钥").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("密钥不正确。")).to_be_visible()
    examine(page, "signing in")
    page.get_by_label("密钥").fill("sesame")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    examine(page, "welcome")
    page.get_by_role("button", name="打开对话列表").click()
    expect(page.locator(".sidebar")).to_be_visible()
    examine(page, "drawer")
    page.get_by_role("button", name="设置").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("语言")
    examine(page, "settings")


def test_tab_reaches_everything_and_dialogs_keep_the_focus(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    converse(page, "Hi")
    expect(page.get_by_role("button", name="Dictate")).to_be_visible()
    page.locator("body").press("Tab")
    page.keyboard.press("Tab")  # past the last one
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the message box")).to_be_focused()
    reached = set()
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.ariaLabel || document.activeElement.textContent.slice(0, 40)"
            )
        )
    for name in ("New chat", "Search conversations", "Hi", "More: Hi", "Settings", "Switch to Chinese"):
        assert name in reached
    for name in ("Messages", "Copy the message", "Edit the message", "Answer again"):
        assert name in reached
    for name in ("Add pictures", "Dictate", "Read aloud"):
        assert name in reached
    settings(page, "General")
    for _ in range(15):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        )
    page.get_by_role("tab", name="General").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("tab", name="Answers")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Settings")).to_be_focused()


def test_menu_by_keyboard(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    converse(page, "Hi")
    more = page.get_by_role("button", name="More: Hi")
    more.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="Rename")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("menuitem", name="Delete")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="Export as Markdown")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_have_count(0)
    expect(more).to_be_focused()
    expect(page.locator(OPEN)).to_have_count(1)
    expect(page.locator(BOX)).to_be_visible()
