"""A hub of our own on this machine: the API of Hugging Face as far as `pull` uses it, and ways to misbehave.

Large files are not sent by the hub itself but by another origin (the same server by another name), as there.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

CHUNK_BYTES = 16 * 1024
RANGE = re.compile(r"bytes=(\d+)-(\d+)")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repo:
    """One repository: its files at one commit, and what the hub says beside them."""

    files: dict[str, bytes]
    commit: str = "a" * 40
    licence: str = "apache-2.0"
    gate: str | None = None  # the token that opens it
    large_suffixes: tuple[str, ...] = (".safetensors", ".bin")
    told: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # fields of a file's entry that are told otherwise

    def is_large(self, name: str) -> bool:
        return name.endswith(self.large_suffixes)

    def entry(self, name: str) -> dict[str, Any]:
        data = self.files[name]
        entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
        if self.is_large(name):
            entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 130}
        return entry | self.told.get(name, {})


@dataclass
class Fault:
    """How one answer goes wrong."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    flip_at: int | None = None  # byte of the file
    close_after: int | None = None  # bytes of this answer
    ignore_range: bool = False
    shift_range: bool = False
    extra: bytes = b""
    wait_for: threading.Event | None = None  # before the first byte


@dataclass(frozen=True)
class Asked:
    """One request for a file's bytes."""

    name: str
    start: int
    stop: int
    host: str
    token: str | None


class HubServer:
    """Serves `repos` until `close`. `fault` is asked for each request of bytes what shall go wrong."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.fault: Callable[[str, int], Fault | None] = lambda name, start: None
        self.api_faults: list[Fault] = []  # of the next answers about models
        self.is_gone = False  # every connection ends without a word
        self.on_sent: Callable[[int], None] = lambda num_bytes: None
        self.asked: list[Asked] = []
        self.paths: list[str] = []
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Be gone: no new connections, and those there are end."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    hub: HubServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not worth a word."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        hub, path = self.server.hub, urlsplit(self.path).path
        if hub.is_gone:
            self.close_connection = True
            return
        with hub.lock:
            hub.paths.append(self.path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", path):
            self._describe(*found.groups())
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(*found.groups())
        elif found := re.fullmatch(r"/large/([^/]+/[^/]+)/(.+)", path):
            repo = hub.repos[found.group(1)]
            name = unquote(found.group(2))
            self._send_bytes(repo, name, {"ETag": f'"{sha256(repo.files[name])}"'})
        else:
            self._refuse(404)

    def _describe(self, name: str, revision: str) -> None:
        hub = self.server.hub
        if hub.api_faults:
            fault = hub.api_faults.pop(0)
            if fault.status:
                self._refuse(fault.status, fault.headers)
                return
        repo = hub.repos.get(name)
        if repo is None:
            self._refuse(401, {"X-Error-Code": "RepoNotFound"})
        elif unquote(revision) not in ("main", repo.commit):
            self._refuse(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            answer = {
                "id": name,
                "sha": repo.commit,
                "gated": "manual" if repo.gate else False,
                "cardData": {"license": repo.licence},
                "siblings": [repo.entry(file) for file in repo.files],
            }
            self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, file: str) -> None:
        hub, file = self.server.hub, unquote(file)
        repo = hub.repos.get(name)
        if repo is None:
            self._refuse(401, {"X-Error-Code": "RepoNotFound"})
            return
        if repo.gate and self.headers.get("Authorization") != f"Bearer {repo.gate}":
            status = 403 if "Authorization" in self.headers else 401
            self._refuse(status, {"X-Error-Code": "GatedRepo"})
            return
        if file not in repo.files:
            self._refuse(404, {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{git_sha1(repo.files[file])}"'}
        if repo.is_large(file):
            headers |= {
                "X-Linked-ETag": f'"{sha256(repo.files[file])}"',
                "X-Linked-Size": str(len(repo.files[file])),
                "Location": f"http://localhost:{hub.port}/large/{name}/{self.path.partition('/resolve/')[2][41:]}",
            }
            self._answer(302, b"", headers)
            return
        self._send_bytes(repo, file, headers)

    def _send_bytes(self, repo: Repo, name: str, headers: dict[str, str]) -> None:
        hub, data = self.server.hub, bytearray(repo.files[name])
        start, stop = 0, len(data)
        ranged = RANGE.fullmatch(self.headers.get("Range", ""))
        if ranged:
            start, stop = int(ranged.group(1)), min(int(ranged.group(2)) + 1, len(data))
        with hub.lock:
            fault = hub.fault(name, start) or Fault()
            token, host = self.headers.get("Authorization"), self.headers["Host"].partition(":")[0]
            hub.asked.append(Asked(name, start, stop, host, token))
        if fault.wait_for:
            fault.wait_for.wait()
        if fault.status:
            self._refuse(fault.status, fault.headers)
            return
        if fault.flip_at is not None:
            data[fault.flip_at] ^= 1
        if fault.ignore_range:
            ranged, start, stop = None, 0, len(data)
        body = bytes(data[start:stop]) + fault.extra
        if ranged:
            shift = int(fault.shift_range)
            headers = {**headers, "Content-Range": f"bytes {start + shift}-{stop - 1}/{len(data)}"}
        self._answer(206 if ranged else 200, body, headers | fault.headers, close_after=fault.close_after)

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str], *, close_after: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = body if close_after is None else body[:close_after]
        for start in range(0, len(sent), CHUNK_BYTES):
            chunk = sent[start : start + CHUNK_BYTES]
            self.wfile.write(chunk)
            with self.server.hub.lock:
                self.server.hub.on_sent(len(chunk))
                if self.server.hub.is_gone:
                    raise ConnectionAbortedError
        if close_after is not None:
            self.close_connection = True

    def _refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self._answer(status, b"no", headers or {})
