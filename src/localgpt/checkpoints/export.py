"""One file that holds a whole family: every tensor, the tokenizer and the configs."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from localgpt.checkpoints.family import read_family
from localgpt.checkpoints.locate import METADATA_KEY
from localgpt.errors import ConfigError

__all__ = ["export_family"]


def export_family(family: Path, file: Path) -> int:
    """Write a family's folder as one safetensors file, in one move.

    Args:
        family: from `resolve_family`.
        file: any name, `model.bin` included; it is judged by its content when loaded.

    Returns:
        Bytes written.

    Raises:
        ConfigError: the file cannot be written.
    """
    files = read_family(family)
    tensors = {f"{member}.{name}": t for member, ts in files.tensors.items() for name, t in ts.items()}
    metadata = {
        METADATA_KEY: json.dumps(files.description),
        "localgpt.tokenizer": files.tokenizer,
        "format": "pt",
    }
    metadata |= {f"localgpt.config.{member}": json.dumps(config) for member, config in files.configs.items()}
    temporary = file.with_name(f".{file.name}.part")
    try:
        save_file(tensors, temporary, metadata)
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {file} ({error}); choose a folder that can be written to") from None
    return file.stat().st_size
