"""Names of files from a hub that would lead out of the model's folder, or meet each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgpt.checkpoints.hub.names import check_names, place_in
from localgpt.errors import UnsafeCheckpointError
from tests.hub.conftest import REPO, PullNow, half_made
from tests.hub.hub_server import HubServer

HOSTILE = [
    "../x.json",
    "a/../../x.json",
    "..",
    "a/..",
    "/etc/passwd",
    "//host/x.json",
    "a//x.json",
    "./x.json",
    "a/.",
    "",
    "a\\..\\x.json",
    "\\\\host\\x.json",
    "C:x.json",
    "C:/x.json",
    "x.json\0.txt",
    "x\n.json",
    "x\x7f.json",
    "\udcff.json",
    "nul",
    "a/CON.json",
    "com1.txt",
    "x.json ",
    " x.json",
    "a./x.json",
    "x" * 300,
    "/".join(["long"] * 300),
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
def test_hostile_names_are_refused(
    hub: HubServer, models: Path, pull_now: PullNow, name: str, tmp_path: Path
) -> None:
    hub.repos[REPO].told["config.json"] = {"rfilename": name}
    with pytest.raises(UnsafeCheckpointError, match=f"{REPO} names a file .* nothing of it was fetched"):
        pull_now()
    assert not hub.asked and not half_made(models)
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert {path.name for path in models.iterdir()} == {".locks"}


@pytest.mark.parametrize(
    ("one", "other"),
    [("config.json", "Config.json"), ("é.txt", "é.txt"), ("a/x.json", "A/X.JSON"), ("x.json", "x.json")],
)
def test_names_that_are_one_file_somewhere_are_refused(one: str, other: str) -> None:
    with pytest.raises(UnsafeCheckpointError, match="one file on some systems"):
        check_names([one, other], repo=REPO)


@given(st.text(max_size=40))
def test_what_is_let_through_stays_inside(name: str) -> None:
    folder = Path("models/x").absolute()
    try:
        check_names([name], repo=REPO)
    except UnsafeCheckpointError:
        return
    assert place_in(folder, name).resolve().is_relative_to(folder.resolve())


@pytest.mark.parametrize(
    "name", ["模型 文件.json", "tokenizer/é.json", "a-b_c.1/x.y.z", "Ünïcode/ß.txt", "..x.json"]
)
def test_plain_names_are_let_through(name: str) -> None:
    check_names([name], repo=REPO)


def test_a_link_that_appears_later_is_seen(tmp_path: Path) -> None:
    (tmp_path / "model.json").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeCheckpointError, match="is a link"):
        place_in(tmp_path, "model.json")
