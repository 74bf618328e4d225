"""Fetching files: parts of them side by side, checked, and each moved to its place when it is whole."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from localgpt.checkpoints.content import check_is_safetensors
from localgpt.checkpoints.gguf_header import GGUF_SUFFIX, read_gguf_header
from localgpt.checkpoints.hub.disk import disk_errors
from localgpt.checkpoints.hub.hashes import git_sha1_of, sha256_of
from localgpt.checkpoints.hub.metadata import HubFile
from localgpt.checkpoints.hub.names import place_in
from localgpt.checkpoints.hub.partial import Part, PartialFile
from localgpt.checkpoints.hub.transfer import Attempts, HubClient, PassingTroubleError, RangesIgnoredError
from localgpt.errors import CancelledRequestError, CheckpointError, WrongHashError
from localgpt.units import MIB

__all__ = ["Downloader", "PullOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PullOptions:
    """How a model is fetched."""

    num_connections: int = 4
    part_bytes: int = 64 * MIB  # a file up to this size comes over one connection


class Downloader:
    """Fetches files of one commit into one folder.

    Args:
        client: of the hub.
        repo: owner/name.
        commit: of it.
        folder: of the pull; whole files go to `files` in it, others wait in `partial`.
        options: how.
        on_bytes: is told how many bytes came, from any thread; less than zero when some have to come again.
        on_part: is told the name of a file when a part of it begins to come, and when that is over.
    """

    def __init__(
        self,
        client: HubClient,
        repo: str,
        commit: str,
        folder: Path,
        *,
        options: PullOptions,
        on_bytes: Callable[[int], None],
        on_part: Callable[[str, bool], None] = lambda name, is_over: None,
    ) -> None:
        self._client, self._repo, self._commit = client, repo, commit
        self._folder, self._options = folder, options
        self._on_bytes, self._on_part = on_bytes, on_part
        self._hashes: dict[str, str] = {}

    @property
    def files(self) -> Path:
        """Where whole files are."""
        return self._folder / "files"

    def sha256_of(self, file: HubFile) -> str:
        """Of a file that was fetched."""
        return file.sha256 or self._hashes.get(file.name) or sha256_of(place_in(self.files, file.name))

    def missing(self, files: Sequence[HubFile]) -> int:
        """Bytes of these files that are still to come."""
        total = 0
        for file in files:
            if not self._is_there(file):
                total += file.size
                if self._partial_path(file).exists():
                    total -= self._open(file).num_bytes
        return total

    def fetch(self, files: Sequence[HubFile]) -> None:
        """Fetch what is missing of these files.

        Raises:
            HubError: the hub is gone, or has changed a file.
            ConfigError: a file is not for everybody, or the folder cannot be written to.
            DiskFullError: the disk is full.
            WrongHashError, CheckpointError: what came is not what the hub had said.
        """
        with ThreadPoolExecutor(self._options.num_connections, thread_name_prefix="pull") as pool:
            futures: list[Future[None]] = []
            try:
                for file in files:
                    if not self._is_there(file):
                        futures += self._submit(pool, file)
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                if not all(future.done() and not future.exception() for future in futures):
                    # the others end at their next byte
                    self._client.stop.set()
                    pool.shutdown(cancel_futures=True)
        _raise_first(futures)

    def _submit(self, pool: ThreadPoolExecutor, file: HubFile) -> list[Future[None]]:
        partial = self._open(file)
        parts = partial.parts
        work = _FileWork(partial, num_left=len(parts))
        if not parts:  # all there, not yet checked
            return [pool.submit(self._guarded, self._finish, file, partial)]
        return [pool.submit(self._guarded, self._fetch_part, file, work, part) for part in parts]

    def _guarded(self, work: Callable[..., None], file: HubFile, *arguments: object) -> None:
        """Errors of the disk in our words, and whoever watches told."""
        self._on_part(file.name, False)
        try:
            with disk_errors(self._folder.parent):
                work(file, *arguments)
        finally:
            self._on_part(file.name, True)

    def _fetch_part(self, file: HubFile, work: _FileWork, part: Part) -> None:
        attempts = Attempts(self._client.patience, self._client.stop)
        with part:
            while part.position < part.stop:
                if self._client.stop.is_set():
                    raise CancelledRequestError(
                        f"the pull of {self._repo} was stopped; run the same command again to go on from here"
                    )
                try:
                    self._receive(file, part, attempts)
                except PassingTroubleError as trouble:
                    attempts.failed(trouble)
                except RangesIgnoredError:
                    if part.start > 0 or part.stop < file.size:
                        raise
                    self._on_bytes(part.start - part.position)
                    part.rewind()
        if work.count_down():
            self._finish(file, work.partial)

    def _receive(self, file: HubFile, part: Part, attempts: Attempts) -> None:
        opened = self._client.open_range(
            self._repo,
            self._commit,
            file.name,
            start=part.position,
            stop=part.stop,
            size=file.size,
            hash=file.hash,
        )
        with opened as chunks:
            for chunk in chunks:
                part.write(chunk)
                self._on_bytes(len(chunk))
                attempts.progressed()
                if self._client.stop.is_set():
                    return

    def _finish(self, file: HubFile, partial: PartialFile) -> None:
        """Check a file whose bytes are all there, and move it to its place."""
        got = sha256_of(partial.path) if file.sha256 else git_sha1_of(partial.path)
        if got != file.hash:
            partial.drop()
            raise WrongHashError(
                f"{file.name} of {self._repo} is not what {self._client.hub.host} says it is: its hash is "
                f"{got}, expected {file.hash}; it was thrown away, run the same command to fetch it again"
            )
        if file.name.endswith((".safetensors", GGUF_SUFFIX)):
            self._check_content(file, partial)
        if not file.sha256:
            self._hashes[file.name] = sha256_of(partial.path)
        partial.finish(place_in(self.files, file.name))

    def _check_content(self, file: HubFile, partial: PartialFile) -> None:
        """Whether it is what its name says; the hash only says that the hub has the same."""
        name = f"{file.name} of {self._repo}"
        try:
            if file.name.endswith(GGUF_SUFFIX):
                read_gguf_header(partial.path, name=name)
            else:
                check_is_safetensors(partial.path, name=name)
        except CheckpointError:
            partial.drop()
            raise

    def _is_there(self, file: HubFile) -> bool:
        """Files get to their place only after they were checked."""
        place = place_in(self.files, file.name)
        return place.is_file() and place.stat().st_size == file.size

    def _open(self, file: HubFile) -> PartialFile:
        return PartialFile(self._partial_path(file), size=file.size, part_bytes=self._options.part_bytes)

    def _partial_path(self, file: HubFile) -> Path:
        """A short name of our own, whatever the hub calls the file."""
        return self._folder / "partial" / f"{hashlib.sha256(file.name.encode()).hexdigest()[:24]}.bytes"


class _FileWork:
    """How many parts of a file are still under way."""

    def __init__(self, partial: PartialFile, num_left: int) -> None:
        self.partial = partial
        self._num_left = num_left
        self._lock = threading.Lock()

    def count_down(self) -> bool:
        """Whether this was the last part."""
        with self._lock:
            self._num_left -= 1
            return self._num_left == 0


def _raise_first(futures: Sequence[Future[None]]) -> None:
    """Raise what ended the work; those that were merely stopped with it come last."""
    errors = [error for future in futures if not future.cancelled() and (error := future.exception())]
    errors.sort(key=lambda error: isinstance(error, CancelledRequestError))
    if errors:
        raise errors[0]
