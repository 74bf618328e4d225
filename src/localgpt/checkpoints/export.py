"""One file that holds a whole family: every tensor, the tokenizer and the configs."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from localgpt.checkpoints.layout import read_layout
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
    layout = read_layout(family)
    tensors = {
        f"{member}.{name}": tensor
        for member, named in layout.read_tensors().items()
        for name, tensor in named.items()
    }
    if file.is_dir() or not file.parent.is_dir():
        raise ConfigError(f"cannot write {file}: expected a file's name in a folder that is there")
    temporary = file.with_name(f".{file.name}.part")
    try:
        save_file(tensors, temporary, layout.to_metadata())
        temporary.replace(file)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"cannot write {file} ({error}); choose a folder that can be written to") from None
    finally:
        temporary.unlink(missing_ok=True)
    return file.stat().st_size
