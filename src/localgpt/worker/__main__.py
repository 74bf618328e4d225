"""`python .../localgpt/worker DESCRIPTOR PARENT`: the process of the models; started by `worker.process`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    folder = str(Path(__file__).resolve().parents[2])
    if folder not in sys.path:  # the parent may have found the package in a way of its own
        sys.path.insert(0, folder)
    from localgpt.worker.child import main

    main(int(sys.argv[1]), int(sys.argv[2]))
