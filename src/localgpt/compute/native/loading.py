"""A family on the CPU whose decoder is the kernel's; encoder and projector stay with torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from localgpt.checkpoints.family import CORE_MEMBERS, FamilyInfo, build_encoder, read_info, read_tokenizer
from localgpt.checkpoints.layout import read_layout
from localgpt.compute.native.decoder import NativeDecoder
from localgpt.errors import CheckpointError
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.models.decoder import DecoderConfig
from localgpt.models.encoder import JointEncoder
from localgpt.models.projector import Projector

__all__ = ["NativeFamily", "load_native_family"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeFamily:
    """What `checkpoints.Family` is, with its decoder in C++."""

    info: FamilyInfo
    tokenizer: Tokenizer
    decoder: NativeDecoder
    encoder: JointEncoder | None
    projector: Projector | None


def load_native_family(path: Path) -> NativeFamily:
    """Load a family.

    Args:
        path: from `resolve_family`.

    Raises:
        BackendError: there is no kernel, or it cannot run this decoder.
        CheckpointError: a part is missing, broken, or does not fit its config.
        UnsafeCheckpointError: a file is a pickle.
        CapacityError: memory ran out.
    """
    layout = read_layout(path)
    tensors = layout.read_tensors(CORE_MEMBERS)
    if "decoder" not in tensors:
        raise CheckpointError(f"{path}: the family {layout.id} has no decoder; nothing could answer")
    try:
        decoder = NativeDecoder(DecoderConfig.from_dict(layout.configs["decoder"]), tensors["decoder"])
        encoder, projector = build_encoder(
            layout.configs.get("encoder"), tensors.get("encoder"), torch.float32
        )
    except (CheckpointError, KeyError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: the weights do not fit their config ({reason})") from None
    return NativeFamily(
        info=read_info(layout),
        tokenizer=read_tokenizer(layout),
        decoder=decoder,
        encoder=encoder and encoder.eval(),
        projector=projector and projector.eval(),
    )
