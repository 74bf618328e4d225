"""A server with a keeper for a test that kills it: `python -m tests.keeping.killable_server HOME`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from localgpt.checkpoints.hub.download import PullOptions
from localgpt.runtime.keeping.keeper import HubKeeper
from localgpt.server import create_app
from localgpt.server.running import Server, address_of, bind, run_server
from localgpt.settings import Settings
from tests.api.fake_service import FakeService
from tests.hub.conftest import HASTE, PART_BYTES


def main() -> None:
    keeper = HubKeeper(
        Path(sys.argv[1]), os.environ, options=PullOptions(part_bytes=PART_BYTES), patience=HASTE
    )
    listener = bind("127.0.0.1", 0)
    app = create_app(Settings(), FakeService(), keeper=keeper)
    run_server(Server(app, on_listening=lambda: print(address_of(listener), flush=True)), listener)


if __name__ == "__main__":
    main()
