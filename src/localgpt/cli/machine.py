"""What the machine has, as far as commands ask for it themselves."""

from __future__ import annotations

import os

__all__ = ["memory_bytes", "model_memory_bytes"]


def memory_bytes(name: str) -> int | None:
    """Memory of the machine, of one of the names of `os.sysconf`; None where the system does not tell."""
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def model_memory_bytes() -> int | None:
    """Memory of the device that runs models: the first GPU's own, else the machine's; None where unknown."""
    from localgpt.compute import describe_devices

    return describe_devices()[0].memory_bytes or memory_bytes("SC_PHYS_PAGES")
