"""Tests of Triton kernels: in a process of their own, whose Triton is its interpreter, and on a card.

The interpreter is chosen when Triton is imported. Tests whose names begin with "test_interpreted" run there.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

__all__ = ["IN_INTERPRETER", "interpreted", "needs_cuda", "needs_triton", "run_interpreted"]

IN_INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not IN_INTERPRETER, reason="runs in a process with TRITON_INTERPRET=1")
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="torch's builds for CPUs bring no Triton"
)
needs_cuda = pytest.mark.skipif(
    IN_INTERPRETER or not torch.cuda.is_available(), reason="no CUDA or ROCm device here"
)


def run_interpreted(file: str) -> None:
    """Run a file's tests of the interpreter, all of which have to pass."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "interpreted", file],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env=own | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-4000:] + done.stderr[-1000:]
