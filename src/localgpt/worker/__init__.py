"""The models in a process of their own: `WorkerService` here, and the child that it starts.

The server's event loop and the models' thread would share one interpreter lock, and each would wait for the
other; in two processes they do not. The gateway loads neither torch nor what decodes pictures, and a model
that crashes, or takes more memory than there is, takes no connection along.

Gateway and child speak frames (`frames`) over a socket that the child inherits. Requests, results, events and
statuses are written by `tasks.wire`, the rest by `messages`; nothing that could name code to run is sent.
"""

from localgpt.worker.client import WorkerService
from localgpt.worker.process import ModelProcess, why_not_here

__all__ = ["ModelProcess", "WorkerService", "why_not_here"]
