"""The page as its users meet it: chat, pictures, stop, errors, Chinese, a phone, hostile output."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib

import pytest
from playwright.sync_api import Page, expect

from localgpt.errors import CapacityError
from localgpt.tasks import ImagePart, TextPart
from tests.web.conftest import LiveServer, Visit

pytestmark = pytest.mark.browser

BOX = "textarea#message"
LAST_ANSWER = "article.answered >> nth=-1"


def png(width: int = 40, height: int = 30) -> bytes:
    """A red picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xc8\x1e\x1e" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def say(page: Page, text: str) -> None:
    page.fill(BOX, text)
    page.press(BOX, "Enter")


def give_file(page: Page, kind: str, name: str, media_type: str, data: bytes) -> None:
    """Drop or paste a file, as a browser would tell the page."""
    page.evaluate(
        """([kind, name, type, base64]) => {
            const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type }));
            const target = document.querySelector("textarea#message");
            const event = kind === "paste"
                ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
                : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
            target.dispatchEvent(event);
        }""",
        [kind, name, media_type, base64.b64encode(data).decode()],
    )


def test_first_visit(visit: Visit) -> None:
    page = visit.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Ask anything. It stays here.")
    expect(page.locator(".chip")).to_have_text("Ready · CPU")
    expect(page.locator(".examples button")).to_have_count(4)
    expect(page.get_by_text("it can be wrong")).to_be_visible()
    expect(page.get_by_text("Nothing leaves this computer")).to_be_visible()
    expect(page.locator(BOX)).to_be_focused()
    assert page.evaluate("document.documentElement.lang") == "en"
    page.locator(".chip").click()
    expect(page.locator("#status-panel")).to_contain_text("local/multimodal-base")
    expect(page.locator("#status-panel")).to_contain_text("142 M")
    assert visit.problems == []


def test_chat_streams_and_is_kept(visit: Visit, live: LiveServer) -> None:
    page, service = visit.page, live.service
    service.gate = asyncio.Event()
    service.deltas = ("Nai", "robi is the **capital**.")
    page.locator(".examples button").first.click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Nai")  # the rest has not been made yet
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    service.gate.set()
    service.gate = None
    expect(page.locator(LAST_ANSWER).locator("strong")).to_have_text("capital")
    expect(page.locator("[aria-live=polite]")).to_contain_text("Nairobi is the **capital**.")
    say(page, "And of Peru?")
    expect(page.locator("article.answered")).to_have_count(2)
    expect(page.get_by_role("button", name="Answer again")).to_be_visible()
    assert [message.role for message in service.chat.messages] == ["user", "assistant", "user"]
    page.reload()
    page.locator(".list .open").click()
    expect(page.locator("article.answered")).to_have_count(2)
    expect(page.locator(".list .open")).to_have_text("What is the capital of Kenya?")
    assert visit.problems == []


def test_stop_keeps_what_was_said(visit: Visit, live: LiveServer) -> None:
    page, service = visit.page, live.service
    service.gate = asyncio.Event()
    say(page, "Tell me everything")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello")
    page.keyboard.press("Escape")
    expect(page.locator(LAST_ANSWER)).to_contain_text("You stopped this answer.")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    service.gate = None
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    expect(page.locator("article.answered")).to_have_count(1)
    assert service.num_cancelled == 1
    assert visit.problems == []


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_picture(visit: Visit, live: LiveServer, how: str) -> None:
    page, service = visit.page, live.service
    give_file(page, how, "red.png", "image/png", png(2000, 1000))
    expect(page.locator(".thumbs img")).to_have_count(1)
    page.press(BOX, "Enter")
    expect(page.locator("article.asked img")).to_be_visible()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    picture, question = service.chat.messages[0].content
    assert isinstance(picture, ImagePart) and picture.media_type == "image/jpeg"
    assert picture.data[:2] == b"\xff\xd8"
    assert question == TextPart(text="Describe this picture.")
    expect(page.locator(".thumbs img")).to_have_count(0)
    assert visit.problems == []


def test_what_is_not_a_picture_is_told(visit: Visit) -> None:
    page = visit.page
    give_file(page, "drop", "notes.txt", "text/plain", b"hello")
    expect(page.get_by_role("alert")).to_contain_text("notes.txt is not a picture")
    give_file(page, "drop", "broken.jpg", "image/jpeg", b"hello")
    expect(page.get_by_role("alert")).to_contain_text("broken.jpg is not a picture")
    expect(page.locator(".thumbs img")).to_have_count(0)


def test_picture_can_be_taken_away(visit: Visit) -> None:
    page = visit.page
    page.set_input_files("input.picker", {"name": "a.png", "mimeType": "image/png", "buffer": png()})
    page.get_by_role("button", name="Remove the picture").click()
    expect(page.locator(".thumbs img")).to_have_count(0)
    expect(page.get_by_role("button", name="Send")).to_be_disabled()


def test_error_can_be_tried_again(visit: Visit, live: LiveServer) -> None:
    page, service = visit.page, live.service
    service.error = CapacityError("the queue is full; try again in a moment")
    say(page, "Hi")
    expect(page.get_by_role("alert")).to_contain_text("the queue is full")
    service.error = None
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    expect(page.get_by_role("alert")).to_have_count(0)
    assert [message.role for message in service.chat.messages] == ["user"]


def test_notices_are_shown(visit: Visit, live: LiveServer) -> None:
    live.service.notices = ("The 2 oldest turns were left out",)
    say(visit.page, "Hi")
    expect(visit.page.locator(".notice")).to_contain_text("The 2 oldest turns were left out")


def test_keyboard(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    page.fill(BOX, "one")
    page.press(BOX, "Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value(BOX) == "one\ntwo"
    page.press(BOX, "Enter")
    expect(page.locator(".bubble")).to_have_text("one\ntwo")
    page.locator(".list li").hover()
    page.get_by_role("button", name="Delete conversation").click()
    expect(page.locator(".list .open")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".list .open")).to_have_count(1)
    page.get_by_role("button", name="New chat").first.click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


@pytest.mark.visitor(locale="zh-CN")
def test_chinese_by_the_browser_and_by_choice(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    expect(page.get_by_role("heading", level=1)).to_have_text("尽管问，内容只留在这里。")
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    live.service.deltas = ("法国的首都", "是巴黎。")
    page.locator(".examples button").first.click()
    expect(page.locator(LAST_ANSWER)).to_contain_text("法国的首都是巴黎。")
    page.get_by_role("button", name="切换到英文").click()
    expect(page.get_by_role("button", name="New chat").first).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ask anything. It stays here.")
    assert visit.problems == []


@pytest.mark.visitor(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
def test_phone(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    live.service.deltas = ("averyveryverylongword" * 20, "\n\n```\n" + "x" * 300 + "\n```")
    expect(page.locator(".sidebar")).to_be_hidden()
    say(page, "Hello")
    expect(page.locator(LAST_ANSWER).locator("pre")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.querySelector('.thread').scrollWidth") <= 360
    page.get_by_role("button", name="Open the list of conversations").click()
    expect(page.locator(".sidebar")).to_be_visible()
    page.locator(".list .open").click()
    expect(page.locator(".sidebar")).to_be_hidden()
    assert visit.problems == []


def test_theme_follows_and_is_kept(visit: Visit) -> None:
    page = visit.page
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Dark appearance").click()
    expect(page.locator("body")).not_to_have_css("background-color", light)
    dark = page.evaluate(background)
    page.reload()
    expect(page.get_by_role("button", name="Light appearance")).to_be_visible()
    assert page.evaluate(background) == dark
    page.get_by_role("button", name="Light appearance").click()
    expect(page.locator("body")).to_have_css("background-color", light)
    page.emulate_media(color_scheme="dark")
    page.reload()
    assert page.evaluate(background) == dark  # the system's own choice was followed again


HOSTILE = (
    "<script>window.hacked=1</script>",
    "<img src=x onerror='window.hacked=2'>",
    "<svg/onload=window.hacked=3>",
    "[link](javascript:window.hacked=4)",
    "[link](data:text/html;base64,PHNjcmlwdD4=)",
    "![picture](https://tracker.example/p.png)",
    "<iframe srcdoc='<script>parent.hacked=5</script>'></iframe>",
    "```html\n<script>window.hacked=6</script>\n```",
    "```\"><img src=x onerror=window.hacked=7>\nx\n```",
    "<a href='javascript:window.hacked=8'>x</a>",
    "| a |\n|---|\n| <img src=x onerror=window.hacked=9> |",
    "[x](https://e.example/\"onmouseover=\"window.hacked=10)",
    "<math><mtext><table><mglyph><style><!--</style>"
    "<img title=\"--&gt;&lt;img src=1 onerror=window.hacked=11&gt;\">",
    "<form action=https://e.example><input type=submit></form><base href=https://e.example>",
    "<style>body{display:none}</style><link rel=stylesheet href=https://e.example/x.css>",
)  # fmt: skip


def test_hostile_output_does_nothing(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    live.service.deltas = tuple(text + "\n\n" for text in HOSTILE)
    say(page, "<img src=x onerror='window.hacked=20'>")
    expect(page.get_by_role("button", name="Answer again")).to_be_visible()
    for link in page.locator("article.answered a").all():
        assert (link.get_attribute("href") or "").startswith(("https://", "http://", "mailto:"))
        link.hover()
    assert page.evaluate("window.hacked") is None
    found = page.locator("article :is(script, iframe, svg[onload], style, form, link, base, img)")
    assert found.count() == 0
    expect(page.locator(LAST_ANSWER)).to_contain_text("<script>window.hacked=1</script>")
    assert visit.problems == []


def test_server_with_key_asks_for_it(browser: object, live: LiveServer) -> None:
    from playwright.sync_api import Browser

    from localgpt.settings import Settings

    assert isinstance(browser, Browser)
    server = LiveServer(Settings(api_keys=("sesame",)))
    context = browser.new_context(locale="en")
    page = context.new_page()
    page.goto(server.url)
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("That key was not accepted.")).to_be_visible()
    page.get_by_label("API key").fill("sesame")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    say(page, "Hi")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    context.close()
    server.stop()
