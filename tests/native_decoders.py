"""The decoder in C++ for tests that run over every decoder."""

from __future__ import annotations

import pytest

from localgpt.compute.native.check import int8_tensors
from localgpt.compute.native.decoder import NativeDecoder
from localgpt.compute.native.library import open_library
from localgpt.errors import BackendError
from localgpt.models.decoder import Decoder


def native_decoder(decoder: Decoder) -> NativeDecoder:
    """The same weights, in int8; skips the test where the library is not built."""
    try:
        open_library()
    except BackendError as error:
        pytest.skip(str(error))
    return NativeDecoder(decoder.config, int8_tensors(decoder), num_threads=1)
