"""What a killed backup leaves: the next one, or the next start, removes it, and nothing that is in use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localgpt.errors import ConfigError
from localgpt.server.store.backup import create_backup
from localgpt.server.store.opening import open_store
from localgpt.server.store.temporary import remove_left_behind, temporary_folder
from tests.store.conftest import make_settings

KILLED = """
import sys
from pathlib import Path
from localgpt.server.store import backup
from localgpt.settings import Settings

def stop(*args):
    print("copied", flush=True)
    sys.stdin.read()

backup._seal = stop
backup.create_backup(Settings(data_dir=Path(sys.argv[1])), Path(sys.argv[2]))
"""


def left_in(folder: Path) -> list[Path]:
    return list(folder.glob("store-*"))


@pytest.mark.parametrize("by", ["backup", "start"])
async def test_a_killed_backups_copy_is_removed(by: str, tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "backup"
    settings = make_settings(home)
    await (await open_store(settings)).close()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(home), str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"copied\n"
        (copy,) = left_in(home)
        await (await open_store(settings)).close()
        assert [path.name for path in copy.iterdir()] == ["store.db"], "it is in use"
        process.kill()
    assert left_in(home) == [copy]
    if by == "backup":
        create_backup(settings, file)
    else:
        await (await open_store(settings)).close()
    assert left_in(home) == []


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        (folder / "store.db").write_bytes(b"a copy")
        remove_left_behind(tmp_path)
        assert (folder / "store.db").exists()
    assert left_in(tmp_path) == []


def test_files_of_earlier_versions_go_when_they_are_old(tmp_path: Path) -> None:
    old, young = tmp_path / "store-a.tmp", tmp_path / "store-b.tmp"
    for path in (old, young):
        path.write_bytes(b"a copy")
    os.utime(old, (1e9, 1e9))
    remove_left_behind(tmp_path)
    assert left_in(tmp_path) == [young]


async def test_a_half_written_backup_is_named(tmp_path: Path) -> None:
    settings, file = make_settings(tmp_path / "home"), tmp_path / "backup"
    await (await open_store(settings)).close()
    partial = tmp_path / "backup.partial"
    partial.write_bytes(b"half")
    with pytest.raises(
        ConfigError, match=r"backup\.partial is there: another backup writes it, or was killed"
    ):
        create_backup(settings, file)
    assert partial.read_bytes() == b"half"
