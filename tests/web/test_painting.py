"""Pictures that are painted: stages, seed and words, remix, gallery; by the keyboard and on a phone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from localgpt.errors import FilteredError
from tests.api.fake_painter import PULLED_PAINTER, FakePainter
from tests.web.conftest import LiveServer, Visit
from tests.web.steps import BOX, is_idle, say

pytestmark = pytest.mark.browser
BRUSH = "Paint a picture"


@pytest.fixture
def live(serve: Callable[..., LiveServer]) -> LiveServer:
    """A server whose family paints."""
    server = serve()
    server.service.__class__ = FakePainter  # the application holds this very object
    vars(server.service).update(
        vars(FakePainter(deltas=(), paints="a red fox", has_painter=True))
        | {"requests": server.service.requests}
    )
    return server


def painter_of(live: LiveServer) -> FakePainter:
    assert isinstance(live.service, FakePainter)
    return live.service


def is_loaded(page: Page, selector: str) -> None:
    image = page.locator(selector).first
    expect(image).to_be_visible()
    assert image.evaluate("(img) => img.decode().then(() => img.naturalWidth)") > 0


def test_a_chat_paints_and_shows_its_stages(visit: Visit, live: LiveServer) -> None:
    page, service = visit.page, painter_of(live)
    service.paint_gate = gate = asyncio.Event()
    say(page, "Draw a red fox")
    is_loaded(page, ".painting img[data-stage=sketch]")
    expect(page.locator(".painting progress")).to_have_attribute("value", "25")
    expect(page.locator(".stages .is-reached")).to_have_text(["Sketch"])
    live._loop.call_soon_threadsafe(gate.set)
    is_idle(page)
    is_loaded(page, ".painted .picture img")
    expect(page.locator(".painting")).to_have_count(0)
    expect(page.locator(".painted .prompt")).to_have_text("a red fox")
    expect(page.locator(".painted .facts")).to_contain_text("96 × 96 · Seed 7")
    page.reload()
    page.locator(".list .open").click()
    is_loaded(page, ".painted .picture img")
    assert visit.problems == []


def test_the_brush_paints_with_a_seed_and_tells_where_words_went(visit: Visit, live: LiveServer) -> None:
    page, service = visit.page, painter_of(live)
    service.more_models = (PULLED_PAINTER,)
    page.reload()
    page.get_by_role("button", name=BRUSH).press("Enter")
    expect(page.locator(BOX)).to_be_focused()
    page.get_by_label("Size").select_option("512x512")
    page.get_by_label("Seed").fill("41")
    page.get_by_label("Show where each word goes").check()
    page.get_by_label("Painter").select_option("maker/painter")
    say(page, "a cat")
    is_idle(page)
    wish = service.chat.painting
    assert wish is not None and wish.is_wanted
    assert (wish.width, wish.seed, wish.model, wish.wants_heat_maps) == (512, 41, "maker/painter", True)
    word = page.get_by_role("button", name="cat", exact=True)
    word.press("Space")
    expect(word).to_have_attribute("aria-pressed", "true")
    is_loaded(page, ".painted img.heat")
    page.get_by_label("Size").select_option("auto")
    page.locator(BOX).fill("half a thought")
    page.get_by_role("button", name="Remix").click()
    expect(page.get_by_label("Painter")).to_have_value("maker/painter")
    expect(page.get_by_label("Size")).to_have_value("512x512")  # of which the seed alone would make another
    expect(page.locator(BOX)).to_have_value("a red fox")
    expect(page.get_by_label("Seed")).to_have_value("41")
    expect(page.get_by_role("link", name="Download")).to_have_attribute("download", "41.png")
    page.get_by_role("button", name="Undo").click()  # of the draft that was replaced
    expect(page.locator(BOX)).to_have_value("half a thought")
    assert visit.problems == []


def test_the_gallery_leads_to_pictures_and_conversations(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    page.get_by_role("button", name="Painted pictures").click()
    gallery = page.get_by_role("dialog", name="Painted pictures")
    expect(gallery).to_contain_text("Pictures that are painted appear here.")
    page.keyboard.press("Escape")
    say(page, "Draw a red fox")
    is_idle(page)
    page.get_by_role("button", name="New chat").first.click()
    page.get_by_role("button", name="Painted pictures").click()
    is_loaded(page, ".gallery .picture img")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    gallery.get_by_role("button", name="View larger: a red fox").click()
    expect(page.get_by_role("dialog", name="Picture: a red fox").get_by_role("img")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Painted pictures").click()
    gallery.get_by_role("button", name="To the conversation").click()
    expect(gallery).to_have_count(0)
    is_loaded(page, "article .painted .picture img")
    assert visit.problems == []


def test_what_cannot_be_painted_is_told(visit: Visit, live: LiveServer) -> None:
    page, service = visit.page, painter_of(live)
    service.paint_error = FilteredError("the prompt does not pass this server's filter", param="prompt")
    page.get_by_role("button", name=BRUSH).click()
    say(page, "a cat")
    expect(page.get_by_role("alert")).to_contain_text("does not pass")
    service.paint_error = None
    page.get_by_role("button", name=BRUSH).click()  # off: what is tried again is painted all the same
    page.get_by_role("button", name="Try again").click()
    is_loaded(page, ".painted .picture img")
    wish = service.chat.painting
    assert wish is not None and wish.is_wanted
    service.has_painter = False
    page.reload()
    page.get_by_role("button", name=BRUSH).click()
    expect(page.get_by_role("alert").first).to_contain_text("No model here paints.")
    page.get_by_role("button", name="More models").first.click()
    expect(page.get_by_role("dialog", name="Settings")).to_be_visible()


@pytest.mark.visitor(locale="zh-CN", viewport={"width": 360, "height": 740}, has_touch=True)
def test_on_a_phone_in_chinese(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    page.get_by_role("button", name="画一张图").click()
    expect(page.locator(BOX)).to_have_attribute("placeholder", "描述要画的图片")
    say(page, "一只狐狸")
    is_loaded(page, ".painted .picture img")
    expect(page.locator(".stages")).to_have_count(0)
    expect(page.get_by_role("button", name="再创作")).to_be_in_viewport()  # the end is followed
    expect(page.get_by_role("button", name="到最新消息")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="画过的图片").click()
    is_loaded(page, ".gallery .picture img")
    gallery = page.get_by_role("dialog", name="画过的图片")
    title, close = (gallery.get_by_role(role).first.bounding_box() for role in ("heading", "button"))  # type: ignore[arg-type]
    assert title and close and close["x"] > title["x"] + title["width"]
    assert abs(close["y"] + close["height"] / 2 - title["y"] - title["height"] / 2) < 4
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert visit.problems == []
