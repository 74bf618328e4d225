"""Hostile text does nothing, wherever it stands: answers, questions, titles, file names, notices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from localgpt.errors import InputError
from tests.web.conftest import LiveServer, Visit
from tests.web.steps import BOX, LAST_ANSWER, OPEN, act, converse, give_file, is_idle, png, say, settings

pytestmark = pytest.mark.browser
LINES = (Path(__file__).parent / "data/hostile.txt").read_text("utf-8").splitlines()
VECTORS = [
    line.replace("␤", "\n").replace("WHO", f"window.hacked={number}")
    for number, line in enumerate(LINES)
    if line and not line.startswith("# One vector")
]
FORBIDDEN = (
    "script, iframe, object, embed, style, link, base, meta, template, video, audio, image, use, "
    "foreignObject, form, portal, marquee, img, svg, annotation-xml, maction, mglyph, [style], "
    "[href^='javascript' i], "
    "[xlink\\:href], [onerror], [onload], [onfocus], [onmouseover]"
)


def check(visit: Visit, page: Page, where: str) -> None:
    """Nothing ran, nothing was asked of anybody else, nothing forbidden stands in the page's texts."""
    for target in page.locator(f"{where} a, {where} [tabindex]").all():
        assert not (target.get_attribute("href") or "").lower().startswith(("javascript", "data", "vbscript"))
        target.focus()
    page.locator(where).last.hover()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    assert page.evaluate("window.hacked") is None
    assert visit.problems == []


def test_there_are_enough_vectors() -> None:
    assert len(VECTORS) >= 100
    assert sum("hacked" in vector for vector in VECTORS) >= 90


def test_in_answers(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    live.service.deltas = tuple(f"{vector}\n\nand then\n\n" for vector in VECTORS)
    converse(page, "Say bad things")
    check(visit, page, ".prose")
    assert page.locator(".prose").locator(FORBIDDEN).count() == 0
    expect(page.locator(".prose")).to_contain_text("<script>window.hacked=1</script>")
    assert (
        page.locator(".prose").inner_text().count("and then") >= len(VECTORS) - 10
    )  # no vector ate the rest
    page.reload()
    page.locator(OPEN).click()
    expect(page.locator(".prose")).to_contain_text("<script>window.hacked=1</script>")
    check(visit, page, ".prose")


def test_cut_into_pieces_and_alone(visit: Visit, live: LiveServer) -> None:
    """Half a vector is another vector: each is streamed by three characters, as an answer of its own."""
    page = visit.page
    for number in range(0, len(VECTORS), 7):
        vector = VECTORS[number]
        live.service.deltas = tuple(vector[at : at + 3] for at in range(0, len(vector), 3))
        say(page, f"Vector {number}")
        expect(page.locator("article.asked").last).to_contain_text(f"Vector {number}")
        is_idle(page)
        assert page.locator(".prose").locator(FORBIDDEN).count() == 0
    check(visit, page, ".prose")


def test_in_questions_titles_and_searches(live: LiveServer, visitor: Callable[..., Visit]) -> None:
    for vector in VECTORS:
        live.call("POST", "conversations", {"title": vector[:200]})
    visit = visitor(live.url)
    page = visit.page
    say(page, "\n".join(VECTORS))
    expect(page.locator(LAST_ANSWER)).to_contain_text("Hello, world.")
    assert page.locator(".bubble").inner_text().count("window.hacked") >= 90
    assert page.locator(".bubble").locator(FORBIDDEN).count() == 0
    page.locator(OPEN).last.scroll_into_view_if_needed()
    check(visit, page, ".list")
    act(page, VECTORS[-1][:200].replace("\n", " "), "Rename")
    field = page.get_by_role("textbox", name="New name")
    field.fill('"><img src=x onerror=window.hacked=900>')
    field.press("Enter")
    page.get_by_role("searchbox").fill("<img src=x onerror=window.hacked=901>")
    expect(page.get_by_text("Nothing found for “<img src=x onerror=window.hacked=901>”.")).to_be_visible()
    assert page.locator(".sidebar").locator("img, script, iframe").count() == 0
    check(visit, page, ".list")


def test_in_file_names_notices_and_errors(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    names = ['"><img src=x onerror=window.hacked=910>.png', "<svg onload=window.hacked=911>.png"]
    for width, name in enumerate(names, 40):
        give_file(page, "drop", name, "image/png", png(width))
    expect(page.locator(".thumbs img")).to_have_count(2)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    give_file(page, "drop", "<img src=x onerror=window.hacked=912>.txt", "text/plain", b"x")
    expect(page.get_by_role("alert")).to_contain_text("<img src=x onerror=window.hacked=912>.txt is not")
    live.service.notices = ("<img src=x onerror=window.hacked=913>", "<script>window.hacked=914</script>")
    converse(page, "What is this?")
    expect(page.locator(".notice").first).to_have_text("<img src=x onerror=window.hacked=913>")
    page.get_by_role("button", name=f"View larger: {names[0]}").click()
    expect(page.get_by_role("dialog")).to_contain_text(names[0])
    page.keyboard.press("Escape")
    live.service.error = InputError("<img src=x onerror=window.hacked=915> is not liked")
    say(page, "Refuse")
    expect(page.get_by_role("alert")).to_be_visible()
    check(visit_without_refusals(visit), page, "article")
    assert page.locator(".notice, .failure, .problem").locator("img, script").count() == 0


def visit_without_refusals(visit: Visit) -> Visit:
    """The browser's own line about a refused request is no violation."""
    visit.problems = [
        text for text in visit.problems if "the server responded with a status of 400" not in text
    ]
    return visit


def test_in_settings(visit: Visit, live: LiveServer) -> None:
    page = visit.page
    part = settings(page, "Answers")
    part.get_by_label("System prompt").fill("\n".join(VECTORS)[:4000])
    part.get_by_role("button", name="Save").click()
    expect(part.get_by_text("Saved.")).to_be_visible()
    page.reload()
    settings(page, "Answers")
    check(visit, page, ".settings")
    page.keyboard.press("Escape")
    page.fill(BOX, VECTORS[3])
    page.reload()
    expect(page.locator(BOX)).to_have_value(VECTORS[3])
    check(visit, page, ".composer")
