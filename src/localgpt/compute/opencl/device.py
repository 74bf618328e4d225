"""One OpenCL device: its memory, its queue, and its kernels, compiled when they are first needed.

Work is queued in order, so a buffer may be used again by the next kernel. A device belongs to one thread at a
time. Nothing is written to disk by us; drivers may keep compiled kernels where they like.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from localgpt.compute.children.opencl_devices import in_order
from localgpt.errors import BackendError, CapacityError
from localgpt.quiet import unheard_warnings

__all__ = ["Buffer", "OpenCLDevice"]

Buffer = Any  # a pyopencl.Buffer
_SOURCES = Path(__file__).parent / "kernels"
_FLOAT_BYTES: Final = 4


class OpenCLDevice:
    """A device by its number in `localgpt doctor`.

    Args:
        number: N of `opencl:N`.
        lanes: work-items that share a sum; None for what suits the device: 1 on a CPU, 32 elsewhere.

    Raises:
        BackendError: pyopencl, a driver or the device is missing.
    """

    def __init__(self, number: int = 0, *, lanes: int | None = None) -> None:
        self._cl = _pyopencl()
        self.name = f"opencl:{number}"
        try:
            device = in_order(self._cl)[number]
            self._context = self._cl.Context([device])
            self._queue = self._cl.CommandQueue(self._context)
        except (IndexError, self._cl.Error) as error:
            raise BackendError(
                f"the device {self.name} cannot be used ({_line(error)}); localgpt doctor lists those here"
            ) from None
        is_cpu = bool(device.type & self._cl.device_type.CPU)
        self.lanes = lanes or (1 if is_cpu else 32)
        self._defines = {"LANES": str(self.lanes), "WIDTH": "16" if self.lanes == 1 else "4"}
        self._programs: dict[tuple[str, ...], Any] = {}
        self._kernels: dict[tuple[str, ...], Any] = {}
        self._scratch: dict[str, Buffer] = {}

    def upload(self, array: NDArray[Any]) -> Buffer:
        """A copy of an array in the device's memory.

        Raises:
            CapacityError: it does not fit.
        """
        flags = self._cl.mem_flags
        return self._buffer(flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=np.ascontiguousarray(array))

    def empty(self, num_floats: int) -> Buffer:
        """Memory for float32 values, not set to anything; errors as for `upload`."""
        return self._buffer(self._cl.mem_flags.READ_WRITE, size=num_floats * _FLOAT_BYTES)

    def scratch(self, name: str, num_floats: int) -> Buffer:
        """Memory that is kept under a name and overwritten by its next user; at least that large."""
        held = self._scratch.get(name)
        if held is None or held.size < num_floats * _FLOAT_BYTES:
            held = self._scratch[name] = self.empty(num_floats)
        return held

    def read(self, buffer: Buffer, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The first values of a buffer, once everything queued before is done."""
        values = np.empty(shape, dtype=np.float32)
        self._cl.enqueue_copy(self._queue, values, buffer)
        return values

    def run(self, kernel: Any, groups: tuple[int, ...], *arguments: Any, uses_lanes: bool = False) -> None:
        """Queue a kernel.

        Args:
            kernel: from `kernel`.
            groups: how many work-items there are along each axis; with `uses_lanes`, groups of lanes.
            arguments: buffers, None, int and float, as the kernel takes them.
            uses_lanes: whether the lanes of a group work together.
        """
        for place, argument in enumerate(arguments):
            if isinstance(argument, int):
                kernel.set_arg(place, np.int32(argument))
            elif isinstance(argument, float):
                kernel.set_arg(place, np.float32(argument))
            else:
                kernel.set_arg(place, argument)
        size, local = groups, None
        if uses_lanes:
            size = (groups[0] * self.lanes, *groups[1:])
            local = (self.lanes, *(1 for _ in groups[1:]))
        self._cl.enqueue_nd_range_kernel(self._queue, kernel, size, local)

    def kernel(self, source: str, name: str, **defines: str | int) -> Any:
        """A kernel of `kernels/SOURCE.cl`, compiled with these definitions.

        Raises:
            BackendError: the driver cannot compile it.
        """
        program_key = (source, *(f"{key}={value}" for key, value in sorted(defines.items())))
        key = (*program_key, name)
        if key not in self._kernels:
            if program_key not in self._programs:
                self._programs[program_key] = self._build(source, defines)
            self._kernels[key] = self._cl.Kernel(self._programs[program_key], name)
        return self._kernels[key]

    def _build(self, source: str, defines: dict[str, str | int]) -> Any:
        text = (_SOURCES / "common.cl").read_text(encoding="utf-8")
        text += (_SOURCES / f"{source}.cl").read_text(encoding="utf-8")
        options = [f"-D{name}={value}" for name, value in {**self._defines, **defines}.items()]
        try:
            with unheard_warnings():  # remarks of the driver's compiler, as about vectors without AVX-512
                return self._cl.Program(self._context, text).build(options, cache_dir=False)
        except self._cl.Error as error:
            raise BackendError(
                f"the driver of {self.name} cannot compile {source}.cl ({_line(error)})"
            ) from None

    def _buffer(self, flags: int, **values: Any) -> Buffer:
        try:
            return self._cl.Buffer(self._context, flags, **values)
        except self._cl.Error as error:
            raise CapacityError(
                f"the memory of {self.name} ran out ({_line(error)}); close other programs, or start with a "
                "smaller --max-batch-size"
            ) from None


@cache
def _pyopencl() -> Any:
    try:
        return importlib.import_module("pyopencl")
    except ImportError as error:
        raise BackendError(
            f"OpenCL needs pyopencl, which cannot be loaded ({error}): pip install 'localgpt[opencl]'"
        ) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
