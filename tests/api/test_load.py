"""The load benchmark: in small on the tiny family, and in full on the shipped weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.load import main, quantile

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_a_small_load(family_folder: Path) -> None:
    result = main(
        [
            "--model", str(family_folder), "--max-tokens", "4", "--requests", "1", "--streams", "1", "8",
            "--overload", "--seconds", "0.5", "--disconnects", "24", "--json",
        ]
    )  # fmt: skip
    assert [row["num_streams"] for row in result["rows"]] == [1, 8]
    assert all(row["errors"] == {} and row["tokens_per_s"] > 0 for row in result["rows"])
    assert result["overload"]["others"] == 0 and result["overload"]["statuses"]["200"] > 0
    assert result["overload"]["broken_off"] == {}
    assert result["disconnects"]["statuses"] == {"200": 24}
    left = result["disconnects"]["left"]
    assert (left["answers"], left["tasks"], left["sockets"]) == (0, 0, 0)
    assert result["exit_status"] == 0


def test_quantiles() -> None:
    assert quantile([], 0.5) == 0 and quantile([3.0], 0.95) == 3
    assert quantile([float(number) for number in range(101)], 0.95) == 95


@pytest.mark.prove
@pytest.mark.weights
def test_ten_times_too_many_requests_for_a_minute() -> None:
    overload = main(["--overload", "--seconds", "60", "--json"])["overload"]
    assert overload["others"] == 0 and overload["broken_off"] == {}
    assert set(overload["statuses"]) <= {"200", "429", "503"} and overload["statuses"]["200"] > 0
    assert overload["tokens_per_s"] > 0  # how much of the peak is left is the benchmark's to tell: it is time


@pytest.mark.prove
@pytest.mark.weights
def test_two_thousand_disconnects_leave_nothing() -> None:
    left = main(["--disconnects", "2000", "--json"])["disconnects"]["left"]
    assert (left["answers"], left["tasks"], left["sockets"]) == (0, 0, 0)
    assert left["other_descriptors"] <= 30  # fifteen connections to SQLite, a file and its log each
