"""Which networks `transformers` builds without code from elsewhere, asked of a child process.

Asking in this one would load torch with it, and a server that pulls models does without.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Final

from localgpt.errors import CheckpointError

__all__ = ["known_types"]

_TIME_LIMIT_S: Final = 300.0  # of a slow disk
_PROGRAM: Final = (
    "import json; from transformers import CONFIG_MAPPING; print(json.dumps(list(CONFIG_MAPPING.keys())))"
)


@cache
def known_types() -> frozenset[str]:
    """Values of `model_type` that `transformers` knows.

    Raises:
        CheckpointError: it cannot be asked.
    """
    command = [sys.executable, "-P", "-c", _PROGRAM]  # -P: not what lies in the folder we are started in
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_S,
            check=True,
        )
        return frozenset(json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"transformers does not say which networks it knows ({error}), so a model that brings code "
            "cannot be judged; check the installation, or pull another model"
        ) from None
