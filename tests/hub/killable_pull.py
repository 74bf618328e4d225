"""A pull for a test that kills it: `python -m tests.hub.killable_pull HUB MODELS`."""

from __future__ import annotations

import sys
from pathlib import Path

from localgpt.checkpoints.hub.address import Hub
from localgpt.checkpoints.hub.download import PullOptions
from localgpt.checkpoints.hub.pull import pull
from localgpt.checkpoints.hub.transfer import Patience
from tests.hub.conftest import HASTE, PART_BYTES, REPO


def main() -> None:
    patience: Patience = HASTE
    options = PullOptions(part_bytes=PART_BYTES)
    pull(Hub(url=sys.argv[1]), REPO, Path(sys.argv[2]), options=options, patience=patience)


if __name__ == "__main__":
    main()
