"""What to say where a model is asked for something it cannot do: which one of the catalogue can."""

from __future__ import annotations

from pathlib import Path

from localgpt.checkpoints.catalogue import Job, load_catalogue
from localgpt.errors import InputError, LocalGPTError
from localgpt.tasks import EMBEDDED_MODEL_ID, DetectRequest, ListenRequest, MediaRequest, PaintRequest

__all__ = ["job_of", "lacks_job", "model_for", "pull_hint"]

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


def model_for(job: Job, data_folder: Path | None, *, preferred: str | None = None) -> str:
    """The model that does a job where none was named.

    That is the preferred one, else the newest that was pulled, else the embedded family.

    Args:
        job: the catalogue's name for it.
        data_folder: where pulled models are.
        preferred: what the settings name.

    Raises:
        InputError: no model that can is here; names one of the catalogue.
    """
    from localgpt.runtime.open.shelf import Shelf, readable

    able = [status for status in readable(Shelf(data_folder).models()) if job in status.tasks]
    for status in able:
        if preferred is not None and preferred in (status.id, *status.names):
            return status.id
    if (not able or preferred == EMBEDDED_MODEL_ID) and _family_can(job):
        return EMBEDDED_MODEL_ID
    if not able:
        raise InputError(
            f"no model that can {_DOINGS[job]} is here; {pull_hint(job)}; --model takes a folder, too",
            param="model",
        )
    return max(able, key=lambda status: status.created).id


def _family_can(job: Job) -> bool:
    """Whether this installation's family has a member for a job."""
    from localgpt.checkpoints.locate import resolve_family
    from localgpt.runtime.members import member_kinds

    try:
        return job in member_kinds(resolve_family(None))
    except LocalGPTError:
        return False


def lacks_job(model_id: str, job: Job) -> InputError:
    """The error of a model that was asked for what it cannot do."""
    return InputError(f"the model {model_id} cannot {_DOINGS[job]}; {pull_hint(job)}", param="model")
