"""A family on an OpenCL device. The projector between encoder and decoder stays with torch on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localgpt.checkpoints.family import (
    CORE_MEMBERS,
    FamilyInfo,
    build_projector,
    read_info,
    read_tokenizer,
    tensors_under,
)
from localgpt.checkpoints.layout import read_layout
from localgpt.compute.opencl.decoder import OpenCLDecoder
from localgpt.compute.opencl.device import OpenCLDevice
from localgpt.compute.opencl.encoder import OpenCLEncoder
from localgpt.errors import CheckpointError
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.models.decoder import DecoderConfig
from localgpt.models.encoder import EncoderConfig
from localgpt.models.projector import Projector

__all__ = ["OpenCLFamily", "load_opencl_family"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCLFamily:
    """What `checkpoints.Family` is, with its networks on an OpenCL device."""

    info: FamilyInfo
    tokenizer: Tokenizer
    decoder: OpenCLDecoder
    encoder: OpenCLEncoder | None
    projector: Projector | None


def load_opencl_family(path: Path, device: str) -> OpenCLFamily:
    """Load a family.

    Args:
        path: from `resolve_family`.
        device: "opencl:N".

    Raises:
        CheckpointError: a part is missing, broken, or does not fit its config.
        UnsafeCheckpointError: a file is a pickle.
        BackendError: the device is missing or fails.
        CapacityError: its memory is too small.
    """
    layout = read_layout(path)
    tensors = layout.read_tensors(CORE_MEMBERS)
    if "decoder" not in tensors:
        raise CheckpointError(f"{path}: the family {layout.id} has no decoder; nothing could answer")
    opencl = OpenCLDevice(int(device.partition(":")[2] or 0))
    encoder, projector = None, None
    try:
        decoder = OpenCLDecoder(
            DecoderConfig.from_dict(layout.configs["decoder"]), tensors["decoder"], opencl
        )
        if "encoder" in tensors:
            parts, config = tensors["encoder"], layout.configs["encoder"]
            encoder = OpenCLEncoder(
                EncoderConfig.from_dict(config["encoder"]), tensors_under("encoder.", parts), opencl
            )
            projector = build_projector(config, parts)
    except (CheckpointError, KeyError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: the weights do not fit their config ({reason})") from None
    return OpenCLFamily(
        info=read_info(layout),
        tokenizer=read_tokenizer(layout),
        decoder=decoder,
        encoder=encoder,
        projector=projector,
    )
