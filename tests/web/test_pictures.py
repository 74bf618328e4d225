"""Pictures: drop, paste, pick, several, view large, progress, HEIC, refusals."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from playwright.sync_api import Route, expect

from localgpt.tasks import ImagePart, TextPart
from tests.web.conftest import LiveServer, Visit
from tests.web.steps import BOX, LAST_ANSWER, OPEN, converse, give_file, is_idle, png

pytestmark = pytest.mark.browser
THUMB = ".thumbs img"


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_picture_is_uploaded_asked_about_and_kept(visit: Visit, live: LiveServer, how: str) -> None:
    page, service = visit.page, live.service
    give_file(page, how, "red.png", "image/png", png(2000, 1000))
    expect(page.locator(THUMB)).to_have_attribute("alt", "Picture: red.png")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    page.press(BOX, "Enter")
    expect(page.locator("article.asked img")).to_be_visible()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    picture, question = service.chat.messages[0].content
    assert isinstance(picture, ImagePart) and picture.media_type == "image/jpeg"
    assert picture.data[:2] == b"\xff\xd8" and b"Exif" not in picture.data
    assert question == TextPart(text="Describe this picture.")
    expect(page.locator(THUMB)).to_have_count(0)
    is_idle(page)
    page.reload()
    page.locator(OPEN).click()
    page.get_by_role("button", name="View larger: red.png").click()
    large = page.get_by_role("dialog", name="Picture: red.png").get_by_role("img")
    expect(large).to_be_visible()
    assert large.evaluate("(img) => img.decode().then(() => img.naturalWidth)") == 1568
    page.keyboard.press("Escape")
    expect(large).to_have_count(0)
    expect(page.get_by_role("button", name="View larger: red.png")).to_be_focused()
    assert visit.problems == []


def test_several_pictures_and_no_more_than_fit(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    files = [
        {"name": f"{index}.png", "mimeType": "image/png", "buffer": png(40 + index, 30)} for index in range(5)
    ]
    page.set_input_files("input.picker", files)
    expect(page.get_by_role("alert")).to_contain_text("At most 4 pictures")
    expect(page.locator(THUMB)).to_have_count(4)
    page.get_by_role("button", name="Remove the picture 1.png").click()
    expect(page.locator(THUMB)).to_have_count(3)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    converse(page, "What are these?")
    kinds = [type(part) for part in live.service.chat.messages[0].content]
    assert kinds == [ImagePart, ImagePart, ImagePart, TextPart]
    assert visit.problems == []


def test_what_is_not_a_picture_is_told(visit: Visit) -> None:
    page = visit.page
    give_file(page, "drop", "notes.txt", "text/plain", b"hello")
    expect(page.get_by_role("alert")).to_contain_text("notes.txt is not a picture")
    give_file(page, "drop", "broken.jpg", "image/jpeg", b"hello")
    expect(page.get_by_role("alert")).to_contain_text("broken.jpg is not a picture")
    give_file(page, "drop", "drawing.svg", "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    expect(page.get_by_role("alert")).to_contain_text("drawing.svg is not a picture")
    expect(page.locator(THUMB)).to_have_count(0)


def test_picture_the_browser_cannot_show_is_sent_all_the_same(visit: Visit, live: LiveServer) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    from PIL import Image

    held = BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (10, 120, 60))).save(held)
    page = visit.page
    give_file(page, "drop", "phone.heic", "image/heic", held.getvalue())
    expect(page.get_by_role("img", name="Picture: phone.heic")).to_contain_text("HEIC")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    converse(page, "What is it?")
    expect(page.locator("article.asked .no-preview")).to_contain_text("HEIC")
    picture = live.service.chat.messages[0].content[0]
    assert isinstance(picture, ImagePart) and picture.media_type in ("image/heic", "image/heif")
    assert visit.problems == []


def test_refused_picture_is_told_and_can_be_taken_away(visit: Visit) -> None:
    page = visit.page
    give_file(page, "drop", "fake.heic", "image/heic", b"not a picture at all")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("fake.heic could not be sent")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Remove the picture fake.heic").click()
    expect(alert).to_have_count(0)


def test_progress_is_shown_while_a_picture_is_sent(visit: Visit) -> None:
    page = visit.page
    held: list[Route] = []
    page.route("**/api/attachments*", lambda route: held.append(route))
    give_file(page, "drop", "red.png", "image/png", png())
    expect(page.get_by_role("progressbar", name="Sending red.png")).to_be_visible()
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    held[0].continue_()
    expect(page.get_by_role("progressbar")).to_have_count(0)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    assert visit.problems == []


def test_upload_goes_on_when_the_server_is_back(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    visit.go_offline()
    give_file(page, "drop", "red.png", "image/png", png())
    expect(page.locator(".thumbs .is-failed")).to_be_visible()
    visit.context.set_offline(False)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    converse(page, "What is it?")
    expect(page.locator("article.asked img")).to_be_visible()


def test_a_draft_keeps_its_pictures(visitor: Callable[..., Visit], live: LiveServer) -> None:
    visit = visitor(live.url)
    page = visit.page
    give_file(page, "paste", "red.png", "image/png", png())
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    page.fill(BOX, "half a thought")
    page.reload()
    expect(page.locator(BOX)).to_have_value("half a thought")
    expect(page.locator(THUMB)).to_be_visible()
    page.press(BOX, "Enter")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    assert isinstance(live.service.chat.messages[0].content[0], ImagePart)
    page.reload()
    expect(page.locator(BOX)).to_have_value("")
    assert visit.problems == []
