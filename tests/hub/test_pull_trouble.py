"""Pulling from a hub, and onto a disk, that do not behave: one clear line each, and nothing half-made."""

from __future__ import annotations

import errno
import shutil
import threading
from collections import namedtuple
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest

from localgpt.checkpoints.hub import kept, partial
from localgpt.checkpoints.hub.address import Hub
from localgpt.checkpoints.hub.pull import Watcher, pull
from localgpt.checkpoints.hub.transfer import Patience
from localgpt.errors import (
    CancelledRequestError,
    CapacityError,
    CheckpointError,
    ConfigError,
    HubError,
    LocalGPTError,
    UnsafeCheckpointError,
)
from tests.hub.conftest import HASTE, PART_BYTES, REPO, PullNow, half_made
from tests.hub.hub_server import Fault, HubServer

FIRST = "model-00001-of-00002.safetensors"
PATIENCE_S = 60  # of a busy machine; a hang fails the test
Usage = namedtuple("Usage", "total used free")


def refused(
    pull_now: PullNow, models: Path, kind: type[LocalGPTError], reason: str, **options: object
) -> None:
    """The pull ends with one line that says so, and no folder looks like a model."""
    with pytest.raises(kind, match=reason) as error:
        pull_now(**options)
    assert "\n" not in str(error.value) and not half_made(models) and not kept.list_models(models)


def once(fault: Fault, name: str, start: int = 0) -> Callable[[str, int], Fault | None]:
    """Only the first answer about this place goes wrong."""
    left = [fault]
    return lambda asked, place: left.pop() if (asked, place) == (name, start) and left else None


def always(fault: Fault, name: str) -> Callable[[str, int], Fault | None]:
    return lambda asked, place: fault if asked == name else None


def test_a_flipped_byte_is_found_and_fetched_anew(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    hub.fault = once(Fault(flip_at=2 * PART_BYTES + 7), FIRST, 2 * PART_BYTES)
    refused(
        pull_now,
        models,
        CheckpointError,
        f"{FIRST} of {REPO} is not what .* says it is: its hash is [0-9a-f]",
    )
    hub.asked.clear()
    pulled = pull_now()
    assert kept.verify_model(pulled.folder, pulled.manifest) == []
    assert {asked.start for asked in hub.asked if asked.name == FIRST} == set(
        range(0, 5 * PART_BYTES + 1, PART_BYTES)
    )


def test_a_flipped_byte_of_a_small_file_is_found(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    hub.fault = once(Fault(flip_at=0), "config.json")
    refused(pull_now, models, CheckpointError, "config.json of .* its hash is")
    assert not pull_now().was_here


def test_a_stop_ends_what_waits_for_a_silent_hub(hub: HubServer, models: Path) -> None:
    asked, gate = threading.Event(), threading.Event()

    def silent(name: str, start: int) -> Fault:
        asked.set()
        return Fault(wait_for=gate)

    hub.fault = silent
    watcher, ends = Watcher(), []

    def work() -> None:
        try:
            pull(Hub(url=hub.url), REPO, models, patience=Patience(read_s=3600), watcher=watcher)
        except LocalGPTError as error:
            ends.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert asked.wait(PATIENCE_S)
    watcher.stop.set()
    thread.join(PATIENCE_S)
    was_waiting = thread.is_alive()
    gate.set()
    thread.join()
    assert not was_waiting
    assert [type(error) for error in ends] == [CancelledRequestError]


def test_a_wrong_hash_is_never_accepted(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    size = len(hub.repos[REPO].files[FIRST])
    hub.repos[REPO].told[FIRST] = {"lfs": {"sha256": "0" * 64, "size": size}}
    for _ in range(2):
        refused(pull_now, models, HubError, "was changed on")  # the answer's own tag says another
    del hub.repos[REPO].told[FIRST]
    assert not pull_now().was_here


@pytest.mark.parametrize("close_after", [0, 1000, PART_BYTES // 2])
def test_answers_that_break_off_are_gone_on_with(hub: HubServer, pull_now: PullNow, close_after: int) -> None:
    hub.fault = once(Fault(close_after=close_after), FIRST, PART_BYTES)
    pulled = pull_now()
    assert kept.verify_model(pulled.folder, pulled.manifest) == []
    assert PART_BYTES + close_after in {asked.start for asked in hub.asked if asked.name == FIRST}


def test_a_hub_that_sends_little_at_a_time_is_endured(hub: HubServer, pull_now: PullNow) -> None:
    """Each answer brings something, so there are more of them than tries."""
    hub.fault = lambda name, start: Fault(close_after=PART_BYTES // 8) if name == FIRST else None
    pulled = pull_now()
    assert kept.verify_model(pulled.folder, pulled.manifest) == []


def test_answers_that_always_break_off_end_the_pull(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    hub.fault = always(Fault(close_after=0), FIRST)
    refused(pull_now, models, HubError, "broke off .*run the same command again to go on from here")
    hub.fault = lambda name, start: None
    hub.asked.clear()
    pull_now()
    assert not [asked for asked in hub.asked if not asked.name.endswith(".safetensors")]  # those were there


def test_a_server_that_vanished(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    sent = [0]

    def vanish(num_bytes: int) -> None:
        sent[0] += num_bytes
        hub.is_gone = sent[0] > 2 * PART_BYTES

    hub.on_sent = vanish
    refused(pull_now, models, HubError, "broke off")
    (entry,) = kept.list_unfinished(models)
    assert entry.repo == REPO
    hub.on_sent = lambda num_bytes: None
    hub.is_gone = False
    totals: list[tuple[int, int]] = []
    pulled = pull_now(watcher=Watcher(on_total=lambda *both: totals.append(both)))
    assert totals[0][1] > PART_BYTES and kept.verify_model(pulled.folder, pulled.manifest) == []


def test_nobody_there(models: Path) -> None:
    server = HubServer()
    server.close()
    with pytest.raises(HubError, match=f"cannot reach 127.0.0.1:{server.port} .*check the connection"):
        pull(Hub(url=server.url), REPO, models, patience=HASTE)
    assert not half_made(models)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again(hub: HubServer, pull_now: PullNow, status: int) -> None:
    busy = Fault(status=status, headers={"Retry-After": "0"})
    hub.api_faults = [busy, busy]
    hub.fault = once(busy, FIRST, PART_BYTES)
    assert not pull_now().was_here and not hub.api_faults


def test_a_hub_that_stays_busy(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    hub.api_faults = [Fault(status=503)] * 3
    refused(pull_now, models, HubError, "answers 503 Service Unavailable; run the same command again later")
    hub.api_faults = [Fault(status=429, headers={"Retry-After": "3600"})]
    refused(pull_now, models, HubError, "answers 429 .*it asks to come back in 3,600 seconds")


def test_a_range_that_was_not_asked_for(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    hub.fault = always(Fault(shift_range=True), FIRST)
    refused(pull_now, models, HubError, r"sends bytes \d+-\d+/\d+ of .*; asked for bytes \d+-\d+/\d+")


def test_more_bytes_than_asked_for(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    hub.fault = always(Fault(extra=b"more"), "config.json")
    refused(pull_now, models, HubError, "sends more of config.json than it said")


def test_a_hub_without_ranges(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    """Small files begin anew; a large one, which comes in parts, is refused."""
    small = "tokenizer/词表 é.json"
    breaks = once(Fault(close_after=5), small)
    hub.fault = lambda name, start: breaks(name, start) or Fault(ignore_range=True) if name == small else None
    assert not pull_now().was_here
    shutil.rmtree(models)
    hub.fault = always(Fault(ignore_range=True), FIRST)
    refused(pull_now, models, HubError, f"sends whole files only; {FIRST} cannot be resumed")


def test_a_gated_model(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    hub.repos[REPO].gate = "hf_right"
    terms = f"is gated: accept its terms at {hub.url}/{REPO}, then set HF_TOKEN"
    refused(pull_now, models, ConfigError, terms)
    refused(
        pull_now, models, ConfigError, "is gated, and the token does not open it; ask at", token="hf_wrong"
    )
    assert not [asked for asked in hub.asked if asked.name.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("repo", "revision", "reason"),
    [
        ("maker/nothing", "main", "no model 'maker/nothing' on 127.0.0.1:.*check the name"),
        (REPO, "v9", f"{REPO} has no revision 'v9'"),
        ("tiny", "main", "'tiny' is no model name; expected OWNER/NAME"),
        ("../tiny", "main", "is no model name"),
        ("maker/..", "main", "is no model name"),
        ("maker/a--b", "main", "is no model name"),
        ("maker/tiny\n", "main", "is no model name"),
        (REPO, "../x", "'../x' is no revision"),
        (REPO, "", "'' is no revision"),
    ],
)
def test_what_is_not_there(models: Path, pull_now: PullNow, repo: str, revision: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        pull_now(repo, revision=revision)
    assert not half_made(models)


def test_a_commit_that_changes_meanwhile(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    """The branch moves after the list of files was read; nothing of two commits is mixed."""

    def move(name: str, start: int) -> None:
        hub.repos[REPO].commit = "b" * 40

    hub.fault = move
    refused(pull_now, models, HubError, "was changed on .* meanwhile; run the same command again")
    hub.fault = lambda name, start: None
    notes: list[str] = []
    pulled = pull_now(watcher=Watcher(on_note=notes.append))
    assert pulled.folder.name == "b" * 40 and not kept.list_unfinished(models)
    assert len(notes) == 1 and "changed since the pull of aaaaaaaaaaaa was broken off" in notes[0]


def test_no_room_is_told_before_anything_is_fetched(
    hub: HubServer, models: Path, pull_now: PullNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 1000, 1000))
    refused(
        pull_now, models, CapacityError, f"{REPO} needs .* more, and 1000 B are free in .*; make room for"
    )
    assert not hub.asked
    monkeypatch.undo()
    assert not pull_now().was_here


def test_a_disk_that_fills_up_meanwhile(
    hub: HubServer, models: Path, pull_now: PullNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [3 * PART_BYTES]

    class Filling(FileIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            taken = super().write(memoryview(data)[: max(0, room[0])])  # a full disk takes less, then nothing
            room[0] -= taken
            if not taken and len(data):
                raise OSError(errno.ENOSPC, "No space left on device")
            return taken

    monkeypatch.setattr(partial, "open_for_writing", lambda path: Filling(path, "r+"))
    refused(
        pull_now, models, CapacityError, "the disk of .* is full; make room and run the same command again"
    )
    monkeypatch.undo()
    pulled = pull_now()
    assert kept.verify_model(pulled.folder, pulled.manifest) == []


def test_a_folder_that_cannot_be_written_to(models: Path, pull_now: PullNow) -> None:
    models.parent.mkdir()
    models.write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match=r"cannot write to .*models .*choose another with --data-dir"):
        pull_now()


def test_a_pull_whose_record_is_broken_begins_anew(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    hub.fault = always(Fault(close_after=0), FIRST)
    refused(pull_now, models, HubError, "broke off")
    (entry,) = kept.list_unfinished(models)
    records = list(entry.path.rglob("*.parts"))
    assert records
    for record in records:
        record.write_bytes(b"\xff" * record.stat().st_size)
    hub.fault = lambda name, start: None
    pulled = pull_now()
    assert kept.verify_model(pulled.folder, pulled.manifest) == []


def test_a_hub_that_talks_nonsense(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    repo = hub.repos[REPO]
    for commit in ("main", "../../x", "A" * 40):
        repo.commit = commit
        refused(pull_now, models, CheckpointError, "names no commit of")
    repo.commit = "a" * 40
    for told in ({"size": -1, "lfs": None}, {"blobId": None}, {"rfilename": 7}, {"size": "many"}):
        repo.told = {"config.json": told}
        refused(pull_now, models, CheckpointError, f"does not describe {REPO} as a model")
    repo.told = {}
    repo.files["config.json"] = b"[]"
    refused(pull_now, models, CheckpointError, "config.json of .* is not a JSON object")


@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
def test_a_damaged_model_is_not_taken_for_whole(pull_now: PullNow, models: Path, name: str) -> None:
    pulled = pull_now()
    (pulled.folder / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"remove {REPO}, and pull it again"):
        pull_now()
    assert kept.remove_model(models, REPO) > 0
    assert not pull_now().was_here


def test_links_in_the_way_are_not_followed(
    hub: HubServer, models: Path, pull_now: PullNow, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    files = kept.pull_folder(models, REPO, "a" * 40) / "files"
    files.mkdir(parents=True)
    (files / "tokenizer").symlink_to(outside, target_is_directory=True)
    refused(pull_now, models, UnsafeCheckpointError, "tokenizer is a link, and would lead elsewhere")
    assert not list(outside.iterdir())
