"""A server over a scripted service and a real store, for a test that kills it.

`python -m tests.store.killable FOLDER` writes its address when it listens.
"""

from __future__ import annotations

import sys
from pathlib import Path

from localgpt.server import create_app
from localgpt.server.running import Server, address_of, bind, run_server
from localgpt.server.store.opening import open_store_at_rest
from localgpt.settings import Settings
from tests.api.fake_service import FakeService


def main() -> None:
    settings = Settings(data_dir=Path(sys.argv[1]), port=0)
    listener = bind(settings.host, settings.port)
    app = create_app(settings, FakeService(), store=open_store_at_rest(settings))
    run_server(Server(app, on_listening=lambda: print(address_of(listener), flush=True)), listener)


if __name__ == "__main__":
    main()
