"""How many GPUs a driver finds: `gpu_driver.py LIBRARY INIT COUNT` calls the two functions and prints JSON.

Run as a child process; standard library only.
"""

from __future__ import annotations

import ctypes
import json
import sys

__all__ = ["count_devices"]


def count_devices(library: str, init: str, count: str) -> dict[str, object]:
    """Call `init(0)` and `count(&number)` of a driver's library, both of which return 0 when all is well."""
    try:
        driver = ctypes.CDLL(library)
        number = ctypes.c_int(0)
        status = getattr(driver, init)(0) or getattr(driver, count)(ctypes.byref(number))
    except (OSError, AttributeError) as error:
        return {"failure": f"the driver's library {library} cannot be used ({error})"}
    if status:
        return {"failure": f"the driver {library} answers with error {status}"}
    return {"count": number.value}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(count_devices(*sys.argv[1:4])))
