"""Rotates the key of a store again and again and tells each step, for a test that kills it.

`python -m tests.store.killable_rotation FOLDER`
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localgpt.server.store import rotation, vault
from localgpt.settings import Settings


def told(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same, after a line."""

    def step(*args: Any) -> Any:
        print("step", flush=True)
        return call(*args)

    return step


def main() -> None:
    for owner, name in ((rotation, "_reseal_table"), (rotation, "settle"), (vault, "_write_key_file")):
        setattr(owner, name, told(getattr(owner, name)))
    while True:
        rotation.rotate_store(Settings(data_dir=Path(sys.argv[1])))


if __name__ == "__main__":
    main()
