"""Networks and tokenizers read by transformers, from a folder alone: no code of it, no network, no pickles.

What transformers would only warn of is an error here: a tensor that is missing, or of another shape, would be
random numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from localgpt.errors import CapacityError, CheckpointError, LocalGPTError, MissingWeightsError
from localgpt.quiet import unheard_warnings
from localgpt.runtime.open.base import OpenCheckpoint, read_description
from localgpt.runtime.open.default_dtype import leave_the_default_alone
from localgpt.runtime.open.precision import choose_dtype

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LoadedNetwork", "load_config", "load_network", "load_tokenizer", "reading", "stored_dtype"]

# Libraries change their own classes while they read a network, for all threads.
_one_at_a_time = threading.RLock()
_TEMPLATE_NAME: Final = "chat_template.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedNetwork:
    """A network in eval mode where it shall run, and what differs from what was asked for."""

    network: nn.Module
    dtype: torch.dtype  # of what it computes in
    notices: tuple[str, ...]


def load_network(
    checkpoint: OpenCheckpoint, auto_class: str, *, unused: tuple[str, ...] = ()
) -> LoadedNetwork:
    """Read a network.

    Args:
        checkpoint: where it is and how it shall run.
        auto_class: the class of transformers that chooses its class, such as "AutoModelForCausalLM".
        unused: beginnings of names of tensors that nobody will ask for, so that they may be missing.

    Raises:
        CheckpointError: the folder is incomplete or broken, or its weights do not fit its description.
        CapacityError: there is no memory for it.
    """
    config = load_config(checkpoint.folder)
    dtype, notice = choose_dtype(stored_dtype(config), device=checkpoint.device, fp16=checkpoint.fp16)
    with reading(checkpoint.folder):
        import transformers

        network, told = getattr(transformers, auto_class).from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        _check_is_whole(checkpoint.folder, told, unused)
        network = network.to(checkpoint.device).eval().requires_grad_(False)
    return LoadedNetwork(network=network, dtype=dtype, notices=(notice,) if notice else ())


def load_config(folder: Path) -> Any:
    """What a network says of itself, as transformers reads it.

    Raises:
        CheckpointError: it is broken or of an unknown kind.
    """
    with reading(folder):
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_tokenizer(folder: Path, *, is_bare: bool = False) -> Any:
    """The tokenizer of a folder.

    Args:
        folder: of the model.
        is_bare: what `tokenizer.json` says and no more: its class has none that the tokenizers library reads.

    Raises:
        MissingWeightsError: it has none.
        CheckpointError: it is broken, or none that the tokenizers library reads.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise MissingWeightsError(
            f"{folder} has no tokenizer (tokenizer.json); copy it from the model's repository"
        )
    with reading(folder):
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        reader: Any = PreTrainedTokenizerFast if is_bare else AutoTokenizer
        tokenizer = reader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(
            f"{folder} has a tokenizer that only transformers' slow classes read; expected a tokenizer.json"
        )
    if not tokenizer.chat_template and (folder / _TEMPLATE_NAME).is_file():  # of older seeing models
        tokenizer.chat_template = read_description(folder / _TEMPLATE_NAME).get("chat_template")
    return tokenizer


def stored_dtype(config: Any) -> torch.dtype | None:
    """The dtype a description tells; None where it does not."""
    found = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None)
    dtype = getattr(torch, found, None) if isinstance(found, str) else found
    return dtype if isinstance(dtype, torch.dtype) else None


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Have transformers quiet and by itself, and its errors be ours, in one line.

    Raises:
        CheckpointError: whatever it could not read.
        CapacityError: memory ran out.
    """
    try:
        with _one_at_a_time, unheard_warnings():
            _be_quiet()
            leave_the_default_alone()
            yield
    except LocalGPTError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise CapacityError(
            f"memory ran out while {folder} was loaded; close other programs, or use --quantize int8 or int4"
        ) from error
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{folder} cannot be read as a model: {line}") from error


def _check_is_whole(folder: Path, told: dict[str, Any], unused: tuple[str, ...]) -> None:
    """Refuse weights that leave a part of the network random."""
    missing = sorted(name for name in told.get("missing_keys") or () if not name.startswith(unused))
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} tensors of its network, such as {missing[0]}; copy it again"
        )
    if mismatched := list(told.get("mismatched_keys") or ()):
        raise CheckpointError(
            f"{folder} has tensors of other shapes than its config.json tells, such as {mismatched[0]}; "
            "copy it again"
        )


def _be_quiet() -> None:
    """No bars and no advice on standard error, which is the user's."""
    from transformers.utils import logging as library_logging

    logging: Any = library_logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
