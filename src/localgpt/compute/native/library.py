"""Loads the compiled kernel library, and says in one line why there is none."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Final

from localgpt.compute.native.compiling import library_path
from localgpt.errors import BackendError

__all__ = ["VERSION", "Library", "Rows", "Shape", "open_library"]

VERSION: Final = 2  # of the C interface; see source/library.cpp
_REBUILD = "python -m localgpt.compute.native.compiling"


class Shape(ctypes.Structure):
    """Sizes of the decoder, as source/decoder.h has them."""

    _fields_ = [
        (name, c_int64) for name in ("vocab_size", "n_layer", "n_embd", "n_head", "n_modality", "has_qk_norm")
    ]


class Rows(ctypes.Structure):
    """Rows of one forward, as source/decoder.h has them; pointers are addresses."""

    _fields_ = [
        ("num_rows", c_int64),
        ("token_ids", c_void_p),
        ("embeddings", c_void_p),
        ("slots", c_void_p),
        ("positions", c_void_p),
        ("modality", c_void_p),
        ("keys", c_void_p),
        ("values", c_void_p),
        ("num_slots", c_int64),
        ("context_len", c_int64),
        ("num_outputs", c_int64),
        ("outputs", c_void_p),
        ("logits", c_void_p),
    ]


class Library:
    """The functions of the library; calls let other threads of Python run.

    Args:
        path: the file.

    Raises:
        BackendError: it cannot be loaded, or is of another version of LocalGPT.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            functions = ctypes.CDLL(str(path))
            version = int(functions.localgpt_version())
        except (OSError, AttributeError) as error:
            raise BackendError(
                f"the kernel library cannot be loaded ({error}); build it again: {_REBUILD}"
            ) from None
        if version != VERSION:
            raise BackendError(
                f"the kernel library has version {version}, expected {VERSION}; build it again: {_REBUILD}"
            )
        functions.localgpt_paths.restype = c_char_p
        self.paths = tuple(functions.localgpt_paths().decode().split(","))
        """Instruction sets that can run here, best first."""
        self.new_decoder = functions.localgpt_decoder_new
        self.new_decoder.argtypes, self.new_decoder.restype = [POINTER(Shape), c_char_p, c_int], c_void_p
        self.free_decoder = functions.localgpt_decoder_free
        self.free_decoder.argtypes, self.free_decoder.restype = [c_void_p], None
        self.set_matrix = functions.localgpt_decoder_matrix
        self.set_matrix.argtypes = [c_void_p, c_char_p, c_int64, c_void_p, c_void_p, c_int64, c_int64]
        self.set_vector = functions.localgpt_decoder_vector
        self.set_vector.argtypes = [c_void_p, c_char_p, c_int64, c_void_p, c_int64]
        self.embed = functions.localgpt_decoder_embed
        self.embed.argtypes, self.embed.restype = [c_void_p, c_void_p, c_int64, c_void_p], None
        self.forward = functions.localgpt_decoder_forward
        self.forward.argtypes = [c_void_p, POINTER(Rows)]
        self.read = functions.localgpt_read
        self.read.argtypes, self.read.restype = [c_void_p, c_int64, c_int64, c_int], c_int64


@cache
def open_library() -> Library:
    """The library of this installation.

    Raises:
        BackendError: it was not built, or cannot be loaded.
    """
    path = library_path()
    if not path.is_file():
        raise BackendError(
            f"the kernel library was not built (no C++ compiler then?); to build it: {_REBUILD}"
        )
    return Library(path)
