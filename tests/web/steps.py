"""What visitors do, and where things are on the page."""

from __future__ import annotations

import base64
import struct
import zlib

from playwright.sync_api import Locator, Page, expect

BOX = "textarea#message"
LAST_ANSWER = "article.answered >> nth=-1"
OPEN = ".list .open"


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
    """Write a message and send it."""
    page.fill(BOX, text)
    page.press(BOX, "Enter")


def is_idle(page: Page) -> None:
    """Wait until no answer is under way."""
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def converse(page: Page, text: str) -> None:
    """Say something and wait for the whole answer."""
    count = page.locator("article.answered").count()
    say(page, text)
    expect(page.locator("article.answered")).to_have_count(count + 1)
    is_idle(page)


def act(page: Page, title: str, action: str) -> None:
    """Choose an action from the menu of a conversation."""
    page.get_by_role("button", name=f"More: {title}").click()
    page.get_by_role("menuitem", name=action).click()


def settings(page: Page, part: str) -> Locator:
    """Open a part of the settings."""
    dialog = page.get_by_role("dialog", name="Settings")
    if not dialog.is_visible():
        page.get_by_role("button", name="Settings").click()
    dialog.get_by_role("tab", name=part).click()
    return dialog.get_by_role("tabpanel")


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
