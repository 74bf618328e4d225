"""What `localgpt models` says of models besides the embedded ones: pulled and of the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgpt.units import format_bytes

if TYPE_CHECKING:
    from localgpt.checkpoints.catalogue import CatalogueEntry
    from localgpt.checkpoints.hub.kept import Manifest, Unfinished

__all__ = ["Collection", "entry_json", "entry_lines", "manifest_json", "manifest_lines"]


class Collection:
    """All that is kept below a data folder, and the catalogue.

    Args:
        data_folder: of the settings; need not be there.
        memory_bytes: of the device that would run a model; None where unknown.

    Raises:
        ConfigError: the user's catalogue is broken.
        CheckpointError: a manifest is.
    """

    def __init__(self, data_folder: Path, memory_bytes: int | None) -> None:
        from localgpt.checkpoints.catalogue import load_catalogue
        from localgpt.checkpoints.hub.kept import list_models, list_unfinished, models_folder

        models = models_folder(data_folder)
        self.memory_bytes = memory_bytes
        self.pulled = list_models(models)
        self.unfinished = list_unfinished(models)
        self.entries = load_catalogue(data_folder)

    def as_json(self) -> dict[str, Any]:
        """The parts of the answer that are not about the embedded models."""
        return {
            "pulled": [manifest_json(folder, manifest) for folder, manifest in self.pulled],
            "unfinished": [_unfinished_json(entry) for entry in self.unfinished],
            "catalogue": [entry_json(entry, self.memory_bytes) for entry in self.entries.values()],
            "memory_bytes": self.memory_bytes,
        }

    def as_lines(self) -> list[str]:
        """The same for people: first what is here, then what could be."""
        here = {manifest.repo for _, manifest in self.pulled}
        lines = []
        if self.pulled:
            lines += ["", "Pulled:"]
            for _, manifest in self.pulled:
                size = format_bytes(manifest.num_bytes)
                lines.append(f"  {manifest.repo}  {manifest.revision[:12]}  {size}  {manifest.licence}")
        if self.unfinished:
            lines += ["", "Broken off (localgpt pull goes on with them):"]
            lines += [
                f"  {entry.repo}  {entry.revision[:12]}  of {format_bytes(entry.num_bytes)}"
                for entry in self.unfinished
            ]
        memory = f", here with {format_bytes(self.memory_bytes)}" if self.memory_bytes else ""
        lines += ["", f"To pull with localgpt pull NAME{memory}:"]
        lines += [
            _entry_line(entry, self.memory_bytes) for entry in self.entries.values() if entry.repo not in here
        ]
        return lines


def manifest_json(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """A pulled model."""
    return {
        "id": manifest.repo,
        "revision": manifest.revision,
        "requested": manifest.requested,
        "path": str(folder),
        "files": len(manifest.files),
        "bytes": manifest.num_bytes,
        "licence": manifest.licence,
        "source": manifest.source,
        "pulled_at": manifest.pulled_at,
        "variant": manifest.variant,
    }


def manifest_lines(folder: Path, manifest: Manifest) -> list[str]:
    """The same for people, with every file."""
    rows = [
        ("path", folder),
        ("revision", f"{manifest.revision} ({manifest.requested})"),
        ("licence", manifest.licence),
        ("source", manifest.source),
        ("pulled", manifest.pulled_at),
        ("size", format_bytes(manifest.num_bytes)),
    ]
    lines = [manifest.repo, *(f"  {name:<9} {value}" for name, value in rows)]
    return lines + [f"  {format_bytes(file.bytes):>10}  {file.path}" for file in manifest.files]


def entry_json(entry: CatalogueEntry, memory_bytes: int | None) -> dict[str, Any]:
    """A model of the catalogue, and how it fits this machine."""
    from localgpt.checkpoints.catalogue import fit_to

    fit = fit_to(entry, memory_bytes) if memory_bytes else None
    return {
        "name": entry.name,
        "id": entry.repo,
        "revision": entry.revision,
        "job": entry.job,
        "licence": entry.licence,
        "commercial": entry.commercial,
        "gated": entry.gated,
        "parameters": entry.parameters,
        "download_bytes": entry.download_bytes,
        "memory_bytes": {
            "fp16": entry.memory_bytes("fp16"),
            "int8": entry.memory_bytes("int8"),
            "int4": entry.memory_bytes("int4"),
        },
        "context": entry.context,
        "note": entry.note.model_dump(),
        "fits": fit.precision if fit else None,
        "lacking_bytes": fit.lacking_bytes if fit else None,
    }


def entry_lines(entry: CatalogueEntry, memory_bytes: int | None) -> list[str]:
    """The same for people."""
    use = {True: "commercial use allowed", False: "no commercial use", None: "commercial use under its terms"}
    sizes = ", ".join(f"{name} {format_bytes(size)}" for name, size in _sizes(entry))
    rows = [
        ("id", f"{entry.repo} ({entry.revision})"),
        ("job", entry.job),
        ("licence", f"{entry.licence}; {use[entry.commercial]}" + ("; gated" if entry.gated else "")),
        (
            "size",
            f"{entry.parameters / 1e6:,.0f} M parameters, {format_bytes(entry.download_bytes)} to fetch",
        ),
        ("memory", f"{sizes}; {_fit_words(entry, memory_bytes)}"),
        *([("context", f"{entry.context:,} tokens")] if entry.context else []),
        ("note", entry.note.en),
        ("", entry.note.zh),
    ]
    return [entry.name, *(f"  {name:<9} {value}" for name, value in rows)]


def _unfinished_json(entry: Unfinished) -> dict[str, Any]:
    return {
        "id": entry.repo,
        "revision": entry.revision,
        "requested": entry.requested,
        "bytes": entry.num_bytes,
        "path": str(entry.path),
    }


def _sizes(entry: CatalogueEntry) -> list[tuple[str, int]]:
    return [
        ("fp16", entry.memory_bytes("fp16")),
        ("int8", entry.memory_bytes("int8")),
        ("int4", entry.memory_bytes("int4")),
    ]


def _entry_line(entry: CatalogueEntry, memory_bytes: int | None) -> str:
    marks = [
        mark
        for mark, is_on in (("gated", entry.gated), ("not commercial", entry.commercial is False))
        if is_on
    ]
    size = format_bytes(entry.download_bytes)
    fit = _fit_words(entry, memory_bytes)
    return "  ".join([f"  {entry.name:<21} {entry.job:<7} {size:>10}", fit, entry.licence, *marks])


def _fit_words(entry: CatalogueEntry, memory_bytes: int | None) -> str:
    from localgpt.checkpoints.catalogue import fit_to

    if memory_bytes is None:
        return "memory unknown"
    fit = fit_to(entry, memory_bytes)
    if fit.precision:
        return f"fits at {fit.precision}"
    return f"lacks {format_bytes(fit.lacking_bytes)}"
