"""What an open checkpoint is before it is loaded, and what it is to its service afterwards.

A folder is judged by its `model_index.json` or `config.json` (`kind_of`), and the module that loads its kind
is named in `LOADERS`; a GGUF file takes the place of a folder. transformers and diffusers are imported by
those modules alone, inside their functions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

from localgpt.checkpoints.content import check_is_safetensors
from localgpt.checkpoints.gguf_header import read_gguf_header
from localgpt.errors import CheckpointError, MissingWeightsError, UnsafeCheckpointError
from localgpt.tasks import Event, ModelStatus, Request, Result

if TYPE_CHECKING:  # a server that keeps models reads `LOADERS` without torch
    from torch import nn

    from localgpt.compute.memory.state import Size
    from localgpt.runtime.footprint import Footprint

__all__ = [
    "LOADERS",
    "Emit",
    "Fast",
    "OpenCheckpoint",
    "OpenKind",
    "OpenModel",
    "Quantize",
    "check_folder",
    "is_fast",
    "is_open_folder",
    "kind_of",
    "load_open",
    "read_description",
]

OpenKind = Literal[
    "language", "vision", "clip", "embedder", "paint", "listen", "speak", "detect", "gguf", "gguf-embed"
]
Quantize = Literal["none", "int8", "int4"]
Fast = Literal["auto", "off", "exact", "compiled", "max"]
"""How much is done for speed. "exact": the same mathematics, up to rounding, by graphs and fused layers;
"compiled": that by torch.compile, which the first work of each shape waits for; "max": also what changes
pictures. "auto" is "off" until the others have been run on a card: they were tested on CPUs only."""
Emit = Callable[[Event], None]

# Kind to the function that loads it: `OpenCheckpoint` to `OpenModel`.
LOADERS: Final[dict[OpenKind, str]] = {
    "language": "localgpt.runtime.open.language:load",
    "vision": "localgpt.runtime.open.vision:load",
    "clip": "localgpt.runtime.open.clip:load",
    "embedder": "localgpt.runtime.open.embedder:load",
    "gguf": "localgpt.runtime.open.gguf:load",
    "gguf-embed": "localgpt.runtime.open.gguf:load",
    "paint": "localgpt.runtime.open.paint:load",
    "listen": "localgpt.runtime.open.listen:load",
    "speak": "localgpt.runtime.open.speak:load",
    "detect": "localgpt.runtime.open.detect:load",
}

CONFIG_NAME: Final = "config.json"
PIPELINE_NAME: Final = "model_index.json"  # of diffusers folders
EMBEDDER_NAME: Final = "modules.json"  # of sentence-transformers, whose networks may say they speak
_WEIGHTS: Final = "*.safetensors"
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

# The first that the name of the network's class matches.
_CLASSES: Final[tuple[tuple[str, OpenKind], ...]] = (
    (r"CLIPModel|SiglipModel", "clip"),
    (r"(Qwen2VL|Qwen2_5_VL|Qwen3VL|Gemma3)ForConditionalGeneration", "vision"),
    (r"WhisperForConditionalGeneration", "listen"),
    (r"VitsModel", "speak"),
    (r".*ForObjectDetection", "detect"),
    (r".*ForCausalLM|.*LMHeadModel", "language"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCheckpoint:
    """What to load, where, and how: everything settled."""

    folder: Path  # or the GGUF file
    id: str  # what requests name it: the catalogue's name, owner/name, or the folder's path
    kind: OpenKind
    licence: str = "unknown"
    created: int = 0  # seconds since the epoch
    device: str = "cpu"  # as torch names it
    fp16: bool = False  # half precision was asked for
    quantize: Quantize = "none"
    fast: Fast = "auto"
    keeps_prompts: bool = True  # for the next one that begins the same
    resident_bytes: int | None = None  # of a denoiser on the device; None: all of it

    def status(
        self, tasks: tuple[str, ...], size: Footprint, *, context_len: int = 0, num_image_tokens: int = 0
    ) -> ModelStatus:
        """What it is once it is loaded; see `ModelStatus`."""
        return ModelStatus(
            id=self.id,
            tasks=tasks,
            num_params=size.num_params,
            weight_bytes=size.weight_bytes,
            context_len=context_len,
            num_image_tokens=num_image_tokens,
            created=self.created,
            licence=self.licence,
        )


class OpenModel(Protocol):
    """One loaded open checkpoint. Its methods block, and are called in one thread, of its own or of all."""

    id: str
    tasks: tuple[str, ...]  # of chat complete describe ask embed paint listen speak detect

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Its networks by name, in eval mode: what the memory ledger moves to the host's memory and back."""
        ...

    @property
    def dtype(self) -> str:
        """Of most weights: "float32", "bfloat16", "float16", "int8", "int4"; learned peaks are kept by it."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """What differs from what was asked for, told in `status` and with the first result after the load."""
        ...

    def status(self) -> ModelStatus:
        """What it is."""
        ...

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """Upper estimates of what the work takes besides the weights: as asked for, then what would do.

        Raises:
            InputError: the request cannot be answered at all; found before any memory is waited for.
        """
        ...

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Do the work.

        Args:
            request: of one of `tasks`.
            emit: takes the events as they happen, all but `Finished`.
            is_cancelled: nobody waits any more: raise CancelledRequestError soon.
            size: the one of `sizes` that there is memory for.

        Raises:
            LocalGPTError: the request was refused, failed or was cancelled.
        """
        ...

    @property
    def cache_bytes(self) -> int:
        """What it remembers between requests and could make again; 0 for most."""
        ...

    def drop_caches(self) -> None:
        """Forget that. May be called from any thread at any time, so an answer takes out what it uses."""
        ...

    def release(self) -> None:
        """Let go of everything; nothing is asked of it afterwards."""
        ...


def load_open(checkpoint: OpenCheckpoint) -> OpenModel:
    """Load a checkpoint with the loader of its kind.

    Raises:
        CheckpointError: no loader for this kind, or the folder cannot be used.
        UnsafeCheckpointError: pickles, or code of the repository.
    """
    check_folder(checkpoint.folder)
    if checkpoint.kind not in LOADERS:
        raise CheckpointError(
            f"{checkpoint.folder} is a model to {checkpoint.kind}; this version runs {', '.join(LOADERS)}"
        )
    module, _, name = LOADERS[checkpoint.kind].partition(":")
    model: OpenModel = getattr(import_module(module), name)(checkpoint)
    return model


def is_fast(checkpoint: OpenCheckpoint) -> bool:
    """Whether more than the plain path is wanted."""
    return checkpoint.fast not in ("auto", "off")


def is_open_folder(folder: Path) -> bool:
    """Whether a folder has the layout of the hub rather than that of our family."""
    return (folder / PIPELINE_NAME).is_file() or (
        (folder / CONFIG_NAME).is_file() and not (folder.parent / "family.json").is_file()
    )


def kind_of(folder: Path) -> OpenKind:
    """What the model of a folder or a GGUF file is for, by what it says of itself.

    Raises:
        MissingWeightsError: no description of a model.
        CheckpointError: it is broken, or of a network that is not run here.
        UnsafeCheckpointError: the network is Python in the folder.
    """
    if folder.is_file():
        return "gguf-embed" if read_gguf_header(folder).pools else "gguf"
    if (folder / PIPELINE_NAME).is_file():
        pipeline = read_description(folder / PIPELINE_NAME).get("_class_name")
        if isinstance(pipeline, list):
            raise _needs_code(folder, f"its pipeline {pipeline[-1]}")
        return "paint"
    config = read_description(folder / CONFIG_NAME)
    if (folder / EMBEDDER_NAME).is_file():
        _check_is_known(folder, config)
        return "embedder"
    names = config.get("architectures") or []
    for name in names:
        for pattern, kind in _CLASSES:
            if re.fullmatch(pattern, str(name)):
                _check_is_known(folder, config)
                return kind
    if "auto_map" in config:
        raise _needs_code(folder, f"its network {', '.join(map(str, names)) or 'without name'}")
    raise CheckpointError(
        f"{folder} is a {', '.join(map(str, names)) or 'model that does not say its class'}, which is not "
        f"run here; expected a model for {', '.join(get_args(OpenKind))}"
    )


def check_folder(folder: Path) -> None:
    """Refuse a folder without whole safetensors, and a file that is no whole GGUF.

    Raises:
        MissingWeightsError: no weights.
        UnsafeCheckpointError: pickles only, or a pickle under another name.
        CheckpointError: a file is cut short.
    """
    if folder.is_file():
        read_gguf_header(folder)
        return
    files = sorted(folder.rglob(_WEIGHTS))
    if not files:
        pickles = sorted(path.name for path in folder.rglob("*") if path.suffix in _PICKLES)
        if pickles:
            raise UnsafeCheckpointError(
                f"{folder} has its weights only as {pickles[0]}, a pickle, which can run code when it is "
                "read; LocalGPT reads safetensors only: ask its maker for them"
            )
        raise MissingWeightsError(f"{folder} holds no safetensors; expected a model folder with its weights")
    for file in files:
        check_is_safetensors(file)


def read_description(path: Path) -> dict[str, Any]:
    """A JSON object of a model's folder.

    Raises:
        MissingWeightsError: the file is missing.
        CheckpointError: it is no JSON object.
    """
    if not path.is_file():
        raise MissingWeightsError(
            f"no {path.name} in {path.parent}; expected a model folder of the hub's layout"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
        raise CheckpointError(f"{path} is not JSON ({error}); copy the folder again") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds {type(values).__name__}; expected a JSON object")
    return values


def _check_is_known(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a network that only its own repository can build."""
    if "auto_map" not in config:
        return
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise _needs_code(folder, f"its network {kind or 'without name'}")


def _needs_code(folder: Path, what: str) -> UnsafeCheckpointError:
    return UnsafeCheckpointError(
        f"{folder} cannot be read without running its code: {what} is Python in the folder (auto_map); "
        "LocalGPT runs none. Use a model of an architecture that transformers or diffusers know"
    )
