"""Networks quantized while they are read: tensor by tensor, so that all of it is never there at full size.

The network is built without its matrices. Each linear layer of the decoder becomes a quantized one the moment
its weights are read; embeddings, the head, norms and what sees pictures stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from localgpt.compute.quantization import Bits, quantized_linear
from localgpt.errors import CheckpointError
from localgpt.nn.weight_only import Int4WeightLinear, Int8WeightLinear, Kernel
from localgpt.runtime.footprint import measure
from localgpt.runtime.open.base import OpenCheckpoint
from localgpt.runtime.open.default_dtype import leave_the_default_alone
from localgpt.runtime.open.files import weight_files
from localgpt.runtime.open.precision import STAYS
from localgpt.runtime.open.weights import LoadedNetwork, load_config, reading
from localgpt.units import format_bytes

__all__ = ["Placing", "empty_network", "load_quantized"]

_DTYPE: Final = torch.bfloat16
_KERNELS: Final[dict[Kernel, str]] = {
    "triton": "by Triton's kernels",
    "torch": "by torch's kernels",
    "plain": "after they were spread out, each time",
}


def load_quantized(checkpoint: OpenCheckpoint, auto_class: str, bits: Bits) -> LoadedNetwork:
    """Read a network with its decoder's weights in int8 or int4; it computes in bfloat16.

    Args:
        checkpoint: where it is and how it shall run.
        auto_class: as for `load_network`.
        bits: of the weights.

    Raises:
        CheckpointError: the folder is incomplete or broken, or of a form that can only be read whole.
    """
    config = load_config(checkpoint.folder)
    with reading(checkpoint.folder):
        network = empty_network(config, auto_class)
        place = Placing(network, checkpoint.device, bits)
        for path in weight_files(checkpoint.folder):
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - not a dict
                    place.put(key, file.get_tensor(key))
        network.tie_weights()
        _check_is_whole(checkpoint.folder, network)
        network = network.to(checkpoint.device).eval().requires_grad_(False)
    notice = f"the weights are {bits}: {format_bytes(measure(network).weight_bytes)} of memory{_by(network)}"
    return LoadedNetwork(network=network, dtype=_DTYPE, notices=(notice,))


def empty_network(config: Any, auto_class: str) -> Any:
    """A network of transformers whose matrices are on no device yet."""
    import transformers

    leave_the_default_alone()
    with _WithoutMatrices():
        return getattr(transformers, auto_class).from_config(config, dtype=_DTYPE)


class Placing:
    """Puts tensors into a network that was built without its matrices.

    Args:
        network: takes the tensors.
        device: where they shall be.
        bits: of those that are quantized; the others are bfloat16.
    """

    def __init__(self, network: Any, device: str, bits: Bits) -> None:
        self._network, self._device, self._dtype, self._bits = network, device, _DTYPE, bits
        self._name_of = _renaming(network)

    def put(self, key: str, tensor: Tensor) -> None:
        """One tensor of a file; what the network has no place for is left out, as transformers does."""
        name = self._name_of(key)
        owner_name, _, last = name.rpartition(".")
        try:
            owner = self._network.get_submodule(owner_name)
        except AttributeError:
            return
        if isinstance(owner, nn.Linear) and last == "weight" and self._is_quantized(owner_name):
            self._check_shape(name, tensor, owner.weight)
            bias = None if owner.bias is None else owner.bias.detach()  # on no device until it is read, too
            layer = quantized_linear(tensor.to(self._device), bias, self._bits)
            if layer is not None:
                self._network.set_submodule(owner_name, layer)
                return
        target = getattr(owner, last, None)
        if not isinstance(target, Tensor):
            return
        self._check_shape(name, tensor, target)
        placed = tensor.to(self._device, self._dtype if tensor.is_floating_point() else tensor.dtype)
        if isinstance(target, nn.Parameter):
            owner.register_parameter(last, nn.Parameter(placed, requires_grad=False))
        else:
            owner.register_buffer(last, placed, persistent=last not in owner._non_persistent_buffers_set)

    def _is_quantized(self, name: str) -> bool:
        return not any(part in name for part in STAYS)

    def _check_shape(self, name: str, tensor: Tensor, target: Tensor) -> None:
        if tensor.shape != target.shape:
            raise CheckpointError(
                f"{name} is {tuple(tensor.shape)} and config.json tells {tuple(target.shape)}; copy the "
                "folder again"
            )


class _WithoutMatrices(TorchFunctionMode):
    """Have what is allocated without values be on no device: in this thread alone."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _renaming(network: Any) -> Callable[[str], str]:
    """From names in files to those of the network, as transformers knows them for each architecture.

    Raises:
        CheckpointError: tensors would have to be put together, which is done for whole networks alone.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    told: Any = get_model_conversion_mapping(network)
    renamings = [one for one in told if isinstance(one, WeightRenaming)]
    converters = [one for one in told if isinstance(one, WeightConverter)]
    known: Any = network.state_dict()

    def name_of(key: str) -> str:
        name, converted = rename_source_key(key, renamings, converters, network.base_model_prefix, known)
        if converted is not None:
            raise CheckpointError(
                f"the weights {key} are put together from several, which cannot be done while they are "
                "quantized; use --quantize none"
            )
        return str(name)

    return name_of


def _by(network: nn.Module) -> str:
    """By which kernels quantized layers multiply, in words."""
    layers = (one for one in network.modules() if isinstance(one, Int8WeightLinear | Int4WeightLinear))
    kernels = sorted({_KERNELS[layer.kernel] for layer in layers})
    return f", multiplied {' and '.join(kernels)}" if kernels else ""


def _check_is_whole(folder: Path, network: Any) -> None:
    """Refuse what was not read: it is still on no device."""
    tensors = (*network.named_parameters(), *network.named_buffers())
    missing = sorted(name for name, tensor in tensors if tensor.is_meta)
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} tensors of its network, such as {missing[0]}; copy it again"
        )
