"""Turn a trained voice into the family's member "speaker": int8 matrices where they are not heard, fp16 rest.

`init` holds `speaker.safetensors` and `speaker.json`; `out` is a family's folder, whose `family.json` gets
the member, or any other folder. Text encoder and coupling layers become int8; durations and the waveform
decoder, whose errors are noise that one hears, stay in half precision. A run's record beside them gives the
member its card. Prints how far int8 moved the worst matrix.
"""

from __future__ import annotations

import json
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from localgpt.checkpoints import write_sharded
from recipes.common import RunOptions
from recipes.export import pack_int8
from recipes.speaker_card import write_card

__all__ = ["MAX_BYTES", "export_speaker"]

MAX_BYTES = 21_000_000  # half of what the voices may take together
_INT8 = ("text_encoder.encoder.", "flow.")


def export_speaker(options: RunOptions) -> dict[str, Any]:
    """Write the member; see the module docstring.

    Raises:
        SystemExit: it is larger than its share of the family.
    """
    assert options.init is not None, "the export needs the folder of a trained voice"
    state = load_file(options.init / "speaker.safetensors")
    packed, worst = pack_int8({name: tensor for name, tensor in state.items() if name.startswith(_INT8)})
    tensors: dict[str, Tensor] = packed | {
        name: tensor.half() for name, tensor in state.items() if not name.startswith(_INT8)
    }
    num_bytes = sum(tensor.nbytes for tensor in tensors.values())
    if num_bytes > MAX_BYTES:
        raise SystemExit(f"the voice takes {num_bytes:,} bytes; expected {MAX_BYTES:,} or less")
    config = json.loads((options.init / "speaker.json").read_text(encoding="utf-8"))
    write_sharded(tensors, options.out / "speaker", config=config)
    record, manifest = (
        json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for path in (options.init / "record.json", options.data / "voice" / "manifest.json")
    )
    if record:
        sizes = (sum(tensor.numel() for tensor in state.values()), num_bytes)
        card = write_card(config, record, manifest.get("seconds", {}), sizes=sizes)
        (options.out / "speaker" / "README.md").write_text(card, encoding="utf-8")
    family = options.out / "family.json"
    if family.exists():
        told = json.loads(family.read_text(encoding="utf-8"))
        told["members"] = list(dict.fromkeys([*told["members"], "speaker"]))
        family.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return {"speaker_bytes": num_bytes, "speaker_worst_relative_error": round(worst, 5)}
