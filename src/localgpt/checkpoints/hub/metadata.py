"""What a hub says of a model: its commit, its licence, and each file with size and hash."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from localgpt.checkpoints.hub.address import split_quant
from localgpt.checkpoints.hub.names import check_names
from localgpt.checkpoints.hub.transfer import HubClient
from localgpt.errors import CheckpointError

__all__ = ["HubFile", "HubModel", "is_commit", "read_model"]

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_METADATA_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file. Its hash is that of its bytes where it is large, and of its git blob where it is small."""

    name: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def hash(self) -> str:
        """The one it has."""
        return self.sha256 or self.git_sha1 or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """One commit of one repository."""

    repo: str
    commit: str
    licence: str  # "unknown" where its makers name none
    files: tuple[HubFile, ...]


def is_commit(revision: str) -> bool:
    """Whether a revision is a whole commit, which means one thing for ever."""
    return bool(_COMMIT.fullmatch(revision))


def read_model(client: HubClient, repo: str, revision: str) -> HubModel:
    """What the hub says of a revision.

    Raises:
        ConfigError: there is no such model or revision, or it is not for everybody.
        HubError: the hub cannot be reached or breaks off.
        CheckpointError: it answers something else than a model.
        UnsafeCheckpointError: a file's name leads out of the model's folder.
    """
    path = f"/api/models/{split_quant(repo)[0]}/revision/{quote(revision, safe='')}?blobs=true"
    answer = client.read_json(path, repo=repo, revision=revision, max_bytes=_MAX_METADATA_BYTES)
    try:
        commit = answer["sha"]
        siblings = answer["siblings"]
        files = tuple(_file(entry) for entry in siblings)
        licence = _licence(answer)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{client.hub.host} does not describe {repo} as a model ({error}); is it a hub of models?"
        ) from None
    if not isinstance(commit, str) or not is_commit(commit):
        raise CheckpointError(f"{client.hub.host} names no commit of {repo}, but {commit!r}; try again later")
    check_names((file.name for file in files), repo=repo)
    return HubModel(repo=repo, commit=commit, licence=licence, files=files)


def _file(entry: Mapping[str, Any]) -> HubFile:
    name = entry["rfilename"]
    large = entry.get("lfs") or {}
    size = large.get("size", entry.get("size"))
    sha256, git_sha1 = large.get("sha256"), entry.get("blobId")
    if not isinstance(name, str) or type(size) is not int or size < 0:
        raise ValueError(f"a file {name!r} of {size!r} bytes")
    if large:
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise ValueError(f"no hash of {name!r}")
        return HubFile(name=name, size=size, sha256=sha256)
    if not isinstance(git_sha1, str) or not _SHA1.fullmatch(git_sha1):
        raise ValueError(f"no hash of {name!r}")
    return HubFile(name=name, size=size, git_sha1=git_sha1)


def _licence(answer: Mapping[str, Any]) -> str:
    """The card's own words for it; its tag where there is no card."""
    card = answer.get("cardData") or {}
    named = card.get("license_name") or card.get("license")
    if isinstance(named, list):
        named = ", ".join(map(str, named))
    if not named:
        tags = [tag for tag in answer.get("tags") or () if isinstance(tag, str)]
        named = next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), None)
    return " ".join(str(named).split())[:200] if named else "unknown"
