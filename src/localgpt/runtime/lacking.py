"""What to say where a model is asked for something it cannot do: which one of the catalogue can."""

from __future__ import annotations

from localgpt.checkpoints.catalogue import Job, load_catalogue
from localgpt.errors import InputError
from localgpt.tasks import DetectRequest, ListenRequest, MediaRequest, PaintRequest

__all__ = ["job_of", "lacks_job", "pull_hint"]

_DOINGS: dict[Job, str] = {
    "chat": "chat",
    "vision": "look at pictures",
    "paint": "paint pictures",
    "listen": "write down speech",
    "speak": "speak",
    "detect": "find objects in pictures",
    "embed": "embed",
}


def job_of(request: MediaRequest) -> Job:
    """The catalogue's name for what a request asks."""
    match request:
        case PaintRequest():
            return "paint"
        case ListenRequest():
            return "listen"
        case DetectRequest():
            return "detect"
    return "speak"


def pull_hint(job: Job) -> str:
    """The line that gets a model for a job: the first that the catalogue has."""
    name = next(entry.name for entry in load_catalogue().values() if entry.job == job)
    return f"`localgpt pull {name}` gets one that can, and `localgpt models` lists more"


def lacks_job(model_id: str, job: Job) -> InputError:
    """The error of a model that was asked for what it cannot do."""
    return InputError(f"the model {model_id} cannot {_DOINGS[job]}; {pull_hint(job)}", param="model")
