"""What every test shares: no network beyond this machine, a tiny family of random models, one thread."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from localgpt.media.text.tokenizer import Tokenizer
from tests import tiny, tiny_folder

_LOCAL = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "", None}


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Refuse every connection and name look-up that leaves the machine."""
    patch = pytest.MonkeyPatch()
    real_lookup = socket.getaddrinfo

    class LocalSocket(socket.socket):
        def connect(self, address: Any) -> None:
            _require_local(self, address)
            super().connect(address)

        def connect_ex(self, address: Any) -> int:
            _require_local(self, address)
            return super().connect_ex(address)

    def lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in _LOCAL and not str(name).startswith("127."):
            raise OSError(f"tests may not use the network; {name!r} was looked up")
        return real_lookup(host, *args, **kwargs)

    patch.setattr(socket, "socket", LocalSocket)
    patch.setattr(socket, "getaddrinfo", lookup)
    yield
    patch.undo()


def _require_local(sock: socket.socket, address: Any) -> None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    host = address[0]
    if host not in _LOCAL and not str(host).startswith("127."):
        raise OSError(f"tests may not use the network; {host!r} was to be connected")


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Tiny models are faster on one thread, and the last bits do not depend on the machine's number of cores.

    For each test anew: a benchmark that ran in a test before has set another number.
    """
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A small tokenizer with the family's layout of ids."""
    return tiny.make_tokenizer()


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny family in a folder; copy it before changing it."""
    return tiny_folder.write_family(tmp_path_factory.mktemp("family") / "tiny")
