"""Dictation and reading aloud, with Chromium's own fake microphone, which beeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from localgpt.errors import CapacityError
from localgpt.media.audio import decode_audio_bytes
from tests.api.fake_voices import FakeVoices
from tests.web.conftest import LiveServer, Visit
from tests.web.steps import BOX, LAST_ANSWER, converse

pytestmark = pytest.mark.browser
HEARD = "What is the capital of France?"
WITH_MICROPHONE = {"permissions": ["microphone"]}
# What the page plays: seconds and loudness of each piece.
WATCH_SOUND = """
    window.played = [];
    const start = AudioBufferSourceNode.prototype.start;
    AudioBufferSourceNode.prototype.start = function (when) {
        const samples = this.buffer.getChannelData(0);
        window.played.push([this.buffer.duration, Math.max(...samples.slice(0, 1000))]);
        return start.call(this, when);
    };
"""


@pytest.fixture
def voices() -> FakeVoices:
    return FakeVoices()


@pytest.fixture
def talking(serve: Callable[..., LiveServer], voices: FakeVoices) -> LiveServer:
    """A server that hears and speaks."""
    return serve(service=voices)


def record(page: Page) -> None:
    """Begin a dictation and let it go on for a second."""
    page.get_by_role("button", name="Dictate", exact=True).click()
    expect(page.get_by_role("timer")).to_contain_text("Recording, 0:01")


def test_dictation_comes_into_the_message_box(
    talking: LiveServer, voices: FakeVoices, visitor: Callable[..., Visit]
) -> None:
    visit = visitor(talking.url, **WITH_MICROPHONE)
    page = visit.page
    page.fill(BOX, "Tell me:")
    record(page)
    page.get_by_role("button", name="Stop, and write it down").click()
    expect(page.locator(BOX)).to_have_value(f"Tell me: {HEARD}")
    expect(page.locator(BOX)).to_be_focused()
    waveform = decode_audio_bytes(voices.listen.audio.data, 16_000)
    assert len(waveform) > 8000 and np.abs(waveform).max() > 0.01  # the fake microphone's beep
    page.press(BOX, "Enter")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    assert voices.chat.messages[0].content[0].text == f"Tell me: {HEARD}"  # type: ignore[union-attr]
    assert visit.problems == []


def test_dictation_by_keyboard_and_without_spaces_in_chinese(
    talking: LiveServer, voices: FakeVoices, visitor: Callable[..., Visit]
) -> None:
    voices.heard = ("法国的首都", "是哪里？")
    visit = visitor(talking.url, **WITH_MICROPHONE, locale="zh-CN")
    page = visit.page
    expect(page.get_by_role("button", name="听写", exact=True)).to_be_visible()
    page.fill(BOX, "请问，")
    page.press(BOX, "Tab")
    expect(page.get_by_role("button", name="听写", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("timer")).to_contain_text("正在录音，0:01")
    page.keyboard.press("Space")  # the focus has stayed
    expect(page.locator(BOX)).to_have_value("请问，法国的首都是哪里？")
    assert visit.problems == []


def test_escape_forgets_what_was_said(
    talking: LiveServer, voices: FakeVoices, visitor: Callable[..., Visit]
) -> None:
    visit = visitor(talking.url, **WITH_MICROPHONE)
    page = visit.page
    record(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("timer")).to_have_count(0)
    assert not voices.requests
    voices.voice_gate = asyncio.Event()
    record(page)
    page.get_by_role("button", name="Stop, and write it down").click()
    expect(page.get_by_role("timer")).to_have_text("Writing down what you said")
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Cancel the dictation").click()
    expect(page.get_by_role("button", name="Dictate", exact=True)).to_be_visible()
    expect(page.locator(BOX)).to_have_value("")
    assert visit.problems == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("Object.defineProperty(window, 'isSecureContext', { value: false })", "over HTTPS"),
        ("delete window.MediaRecorder", "This browser cannot record"),
        (
            "navigator.mediaDevices.getUserMedia = () => "
            "Promise.reject(new DOMException('', 'NotFoundError'))",
            "There is no microphone",
        ),
        ("", "was told not to give the microphone"),  # nobody allowed it
    ],
)
def test_a_browser_that_cannot_says_why(
    script: str, words: str, talking: LiveServer, visitor: Callable[..., Visit]
) -> None:
    visit = visitor(talking.url)
    page = visit.page
    page.add_init_script(script)
    page.reload()
    page.get_by_role("button", name="Dictate", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text(words)
    assert visit.problems == []


def test_a_server_that_cannot_says_why(
    talking: LiveServer, voices: FakeVoices, visitor: Callable[..., Visit]
) -> None:
    visit = visitor(talking.url, **WITH_MICROPHONE)
    page = visit.page
    voices.heard = ()
    record(page)
    page.get_by_role("button", name="Stop, and write it down").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was heard")
    voices.voice_error = CapacityError("the queue is full")
    record(page)
    page.get_by_role("button", name="Stop, and write it down").click()
    expect(page.get_by_role("alert")).to_contain_text("as much to do as it can take")
    voices.voice_tasks = ()
    page.reload()
    expect(page.locator(".chip")).to_contain_text("Ready")
    page.get_by_role("button", name="Dictate", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("No model here writes speech down")


def test_a_server_without_voice_shows_no_buttons(
    serve: Callable[..., LiveServer], visitor: Callable[..., Visit]
) -> None:
    live = serve(enable_voice=False)
    visit = visitor(live.url)
    converse(visit.page, "hi")
    expect(visit.page.get_by_role("button", name="Copy the message").last).to_be_visible()
    for name in ("Dictate", "Speak with it"):
        assert visit.page.get_by_role("button", name=name).count() == 0
    assert visit.page.get_by_role("button", name="Read aloud").count() == 0
    assert visit.problems == []


def test_an_answer_is_read_aloud(
    talking: LiveServer, voices: FakeVoices, visitor: Callable[..., Visit]
) -> None:
    voices.deltas = ("# Paris\n\nIt is **the** [capital](https://x.y).\n\n```py\nprint(1)\n```\n\n- big",)
    visit = visitor(talking.url)
    page = visit.page
    page.add_init_script(WATCH_SOUND)
    page.reload()
    converse(page, "hi")
    button = page.get_by_role("button", name="Read aloud")
    button.click()
    expect(page.get_by_role("button", name="Stop reading")).to_be_visible()
    expect(button).to_be_visible()  # it has come to its end
    assert " ".join(voices.speak.text.split()) == "Paris It is the capital. big"
    assert (voices.speak.format, voices.speak.sample_rate) == ("pcm", 24_000)
    played = page.evaluate("window.played")
    assert sum(seconds for seconds, _ in played) == pytest.approx(0.2)
    assert all(loudness == pytest.approx(8000 / 32768, abs=1e-3) for _, loudness in played)
    assert visit.problems == []


def test_reading_stops_by_button_key_and_leaving(
    talking: LiveServer, voices: FakeVoices, visitor: Callable[..., Visit]
) -> None:
    visit = visitor(talking.url, locale="zh-CN")
    page = visit.page
    page.fill(BOX, "hi")
    page.press(BOX, "Enter")
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    voices.voice_gate = asyncio.Event()  # a voice that never comes to its end
    for stop in (
        lambda: page.get_by_role("button", name="停止朗读").click(),
        lambda: page.keyboard.press("Escape"),
        lambda: page.get_by_role("button", name="新对话").first.click(),
    ):
        with page.expect_response("**/v1/audio/speech"):
            page.get_by_role("button", name="朗读", exact=True).click()
        with page.expect_event("requestfailed"):
            stop()
        expect(page.get_by_role("button", name="停止朗读")).to_have_count(0)
    assert visit.problems == []


def test_what_cannot_be_read_says_why(
    talking: LiveServer, voices: FakeVoices, visitor: Callable[..., Visit]
) -> None:
    voices.deltas = ("```py\nprint(1)\n```",)
    page = visitor(talking.url).page
    converse(page, "hi")
    page.get_by_role("button", name="Read aloud").click()
    expect(page.get_by_role("status").filter(has_text="nothing in it")).to_be_visible()
    voices.deltas = ("Paris.",)
    converse(page, "hi")
    voices.voice_error = CapacityError("the queue is full")
    page.get_by_role("button", name="Read aloud").last.click()
    expect(page.get_by_role("status").filter(has_text="as much to do as it can take")).to_be_visible()
