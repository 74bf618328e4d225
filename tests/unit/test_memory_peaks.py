"""Learned peaks: estimates, margins, bounds, and a file that may be broken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localgpt.compute.memory import PeakBook, PeakKey

KEY = PeakKey(model="m", shape="512 tokens", dtype="int8", device="cpu")


def test_the_upper_estimate_holds_until_something_was_measured() -> None:
    book = PeakBook()
    assert book.estimate(KEY, 1000) == 1000
    book.learn(KEY, 400)
    assert book.estimate(KEY, 1000) == 420
    assert book.estimate(replace(KEY, dtype="float32"), 1000) == 1000
    book.learn(KEY, 2000)
    assert book.estimate(KEY, 1000) == 2100  # the estimate was too low


def test_a_bound_only_lowers() -> None:
    book = PeakBook()
    book.learn(KEY, 700, is_bound=True)
    assert (book.estimate(KEY, 1000), book.estimate(KEY, 500)) == (700, 500)
    book.learn(KEY, 400)
    book.learn(KEY, 100, is_bound=True)
    assert book.estimate(KEY, 1000) == 420


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=20), st.integers(0, 10_000))
def test_estimates_converge_from_both_sides(odd: list[int], usual: int) -> None:
    """Whatever was measured before, eight usual measurements make the usual estimate."""
    book = PeakBook()
    for nbytes in [*odd, *[usual] * 8]:
        book.learn(KEY, nbytes)
    assert book.estimate(KEY, 5) == int(usual * 1.05)


def test_peaks_survive_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data" / "memory-peaks.json"
    book = PeakBook(path)
    assert not book.is_worth_saving and book.notices == ()
    book.learn(KEY, 400)
    assert book.is_worth_saving
    book.save()
    assert not book.is_worth_saving
    book.learn(KEY, 401)
    assert not book.is_worth_saving  # the same, but for the allocator's mood
    book.learn(replace(KEY, shape="bound"), 7, is_bound=True)
    assert book.is_worth_saving
    book.save()
    again = PeakBook(path)
    assert not again.is_worth_saving and again.estimate(replace(KEY, shape="bound"), 9) == 7
    assert again.peaks()[0].nbytes == 421 and again.notices == ()
    assert [found.name for found in path.parent.iterdir()] == [path.name]


GOOD = {
    "model": "m",
    "shape": "s",
    "dtype": "d",
    "device": "c",
    "measured": [1],
    "bound": None,
    "num_measured": 1,
}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "7",
        '{"version": 2, "peaks": []}',
        '{"version": 1}',
        json.dumps({"version": 1, "peaks": [{**GOOD, "measured": "many"}]}),
        json.dumps({"version": 1, "peaks": [{**GOOD, "measured": [-1]}]}),
        json.dumps({"version": 1, "peaks": [{**GOOD, "model": 7}]}),
        json.dumps({"version": 1, "peaks": [GOOD, None]}),
        "\udcff",
    ],
)
def test_a_broken_file_is_told_and_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "memory-peaks.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    book = PeakBook(path)
    (notice,) = book.notices
    assert str(path) in notice and "measured anew" in notice
    assert book.peaks() == () and book.estimate(KEY, 7) == 7
    book.learn(KEY, 100)
    book.save()
    assert PeakBook(path).notices == ()


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    book = PeakBook(tmp_path / "file" / "memory-peaks.json")
    book.learn(KEY, 100)
    for _ in range(2):
        book.save()
    assert [notice for notice in book.notices if "could not be kept" in notice] == [book.notices[-1]]
    assert book.estimate(KEY, 7) == 105


def test_a_stop_in_the_middle_of_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "memory-peaks.json"
    book = PeakBook(path)
    book.learn(KEY, 100)
    book.save()
    before = path.read_bytes()

    def torn(self: Path, text: str, **_: Any) -> int:
        self.write_bytes(text.encode()[:10])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", torn)
    book.learn(KEY, 900)
    book.save()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert "no space left" in book.notices[-1]


def test_the_book_does_not_grow_for_ever() -> None:
    book = PeakBook()
    for at in range(1100):
        book.learn(replace(KEY, shape=f"{at}"), at)
    peaks = book.peaks()
    assert (len(peaks), peaks[0].key.shape, peaks[-1].key.shape) == (1000, "100", "1099")
