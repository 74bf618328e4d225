"""Voice mode in a real Chromium, whose microphone plays a recording that the test makes."""

from __future__ import annotations

import base64
import json
import wave
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Playwright, WebSocketRoute, expect

from localgpt.tasks import TextPart
from tests.realtime.speech import said
from tests.realtime.voice_service import VoiceService
from tests.served import PATIENCE_S
from tests.web.conftest import CHROMIUM, DESKTOP, FLAGS, LiveServer, Visit

pytestmark = pytest.mark.browser
OPEN = "Speak with it"
WHOLE = "".join(f"This is sentence number {number}. " for number in range(40))


@pytest.fixture(scope="module")
def talking_browser(driver: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium at whose microphone somebody asks something every four seconds."""
    recording = tmp_path_factory.mktemp("sound") / "asked.wav"
    with wave.open(str(recording), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(said(1200, 1200, 1600, rate=48_000).tobytes())
    flags = [
        *FLAGS,
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}",
        "--autoplay-policy=no-user-gesture-required",
    ]
    chromium = driver.chromium.launch(executable_path=CHROMIUM, args=list(dict.fromkeys(flags)))
    yield chromium
    chromium.close()


@pytest.fixture
def caller(talking_browser: Browser) -> Iterator[Callable[..., Visit]]:
    contexts = []

    def call(url: str, **options: Any) -> Visit:
        context = talking_browser.new_context(**{**DESKTOP, **options})
        context.set_default_timeout(PATIENCE_S * 1000)
        contexts.append(context)
        return Visit(context, url)

    yield call
    for context in contexts:
        context.close()


def test_a_call_with_an_interruption(serve: Callable[..., LiveServer], caller: Callable[..., Visit]) -> None:
    service = VoiceService(deltas=(WHOLE,))
    visit = caller(serve(service=service).url)
    page = visit.page
    page.get_by_role("button", name=OPEN).click()
    dialog = page.get_by_role("dialog", name="Voice")
    log = dialog.get_by_role("list", name="What was said")
    expect(log.locator(".is-user").first).to_contain_text("What time is it?")
    expect(log.locator(".is-assistant").first).to_contain_text("This is sentence number 0.")
    expect(dialog.get_by_role("status")).to_contain_text("Speaking")
    assert not Axe().run(page).response["violations"]
    expect(log.locator(".is-assistant")).to_have_count(2)
    shown = log.locator(".is-assistant").first.inner_text()
    dialog.get_by_role("button", name="Hang up").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name=OPEN)).to_be_focused()
    _, asked, answered, again = service.chats[1].messages
    assert (asked.role, answered.role, again.role) == ("user", "assistant", "user")
    heard = answered.content[0]
    assert isinstance(heard, TextPart) and WHOLE.startswith(heard.text) and len(heard.text) < len(WHOLE) // 2
    assert len(shown) < len(WHOLE) // 2  # what was heard, not all that was sent
    assert visit.problems == []


def test_the_button_interrupts(serve: Callable[..., LiveServer], caller: Callable[..., Visit]) -> None:
    service = VoiceService(deltas=(WHOLE,))
    page = caller(serve(service=service).url).page
    page.get_by_role("button", name=OPEN).click()
    page.get_by_role("button", name="Interrupt").click()
    expect(page.get_by_role("dialog").get_by_role("status")).not_to_contain_text("Speaking")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_is_on_its_way_is_not_played_after_an_interruption(
    serve: Callable[..., LiveServer], caller: Callable[..., Visit]
) -> None:
    """Sound that left the server before it learnt of the interruption."""
    page = caller(serve(service=VoiceService()).url).page
    sound = base64.b64encode(bytes(2 * 24_000 * 60)).decode()

    def answer(socket: WebSocketRoute) -> None:
        def send(kind: str, **fields: Any) -> None:
            socket.send(json.dumps({"type": kind, **fields}))

        def take(text: str | bytes) -> None:
            kind = json.loads(text)["type"]
            if kind == "session.update":
                send("session.updated")
            if kind in ("session.update", "response.cancel"):
                send("response.output_audio_transcript.delta", item_id="item_1", delta=f"After {kind}.")
                send("response.output_audio.delta", item_id="item_1", delta=sound)
            if kind == "response.cancel":
                said = {"item_id": "item_2", "transcript": "Enough."}
                send("conversation.item.input_audio_transcription.completed", **said)

        socket.on_message(take)
        send("session.created")

    page.route_web_socket("**/v1/realtime*", answer)
    page.reload()
    page.get_by_role("button", name=OPEN).click()
    dialog = page.get_by_role("dialog", name="Voice")
    expect(dialog.locator(".is-assistant")).to_contain_text("After session.update.")
    page.get_by_role("button", name="Interrupt").click()
    expect(dialog.locator(".is-user")).to_contain_text("Enough.")
    expect(dialog.get_by_role("status")).to_contain_text("Listening")
    expect(dialog.locator(".is-assistant")).to_have_count(1)


def test_what_is_missing_is_told(serve: Callable[..., LiveServer], caller: Callable[..., Visit]) -> None:
    visit = caller(serve(service=VoiceService(listens=False)).url, locale="zh-CN")
    page = visit.page
    page.get_by_role("button", name="语音对话").click()
    expect(page.get_by_role("alert")).to_contain_text("缺少能听或能说的模型")
    expect(page.get_by_role("button", name="再次通话")).to_be_visible()
    assert visit.problems == []


def test_without_a_secure_context_the_reason_is_told(
    serve: Callable[..., LiveServer], caller: Callable[..., Visit]
) -> None:
    visit = caller(serve(service=VoiceService()).url)
    page = visit.page
    page.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false })")
    page.get_by_role("button", name=OPEN).click()
    expect(page.get_by_role("alert")).to_contain_text("only to pages of this computer or over HTTPS")
    assert visit.problems == []


def test_a_server_without_voice_offers_no_call(
    serve: Callable[..., LiveServer], caller: Callable[..., Visit]
) -> None:
    page = caller(serve(service=VoiceService(), enable_voice=False).url).page
    expect(page.locator(".chip")).to_contain_text("Ready")
    expect(page.get_by_role("button", name=OPEN)).to_have_count(0)
