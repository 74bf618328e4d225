"""The one exception tree of LocalGPT.

    LocalGPTError
    |- ConfigError            a setting, key, device or option that is not known or not valid
    |  |- GatedModelError         its makers want their terms accepted before it can be pulled
    |  |- UnknownModelError       the hub, the catalogue or this disk has no such model
    |  |- OfflineError            the environment says that nothing may be fetched
    |- CheckpointError        a model folder or file that cannot be used
    |  |- MissingWeightsError     no weights where weights were expected
    |  |- UnsafeCheckpointError   a pickle, or anything else that would run code when read
    |  |- WrongHashError          its bytes are not those that its hub told of
    |- InputError             what the caller sent cannot be used; `param` names the field
    |  |- ImageFormatError        not a picture, broken, or too large
    |  |- AudioFormatError        not a recording, broken, or too long
    |  |- PromptTooLongError      more tokens than the context holds
    |  |- FilteredError           what is wanted, or what came out, does not pass the operator's filter
    |  |- LastAdminError          without that key nobody could manage keys
    |- CapacityError          no room now: queue full, memory exhausted
    |  |- RateLimitError          the caller's own limit is used up
    |  |- DiskFullError           no room on the disk
    |  |- BusyModelError          somebody is at work on the files of that model
    |- HubError               the hub of models cannot be reached, breaks off, or answers nonsense
    |- StoreError             the store of conversations and keys cannot be opened, read or written
    |- BackendError           a compute backend is missing or failed
    |- CancelledRequestError  the caller went away or asked to stop
    |  |- DeadlineError           not finished in the time it was given

Every message says what was got, what was expected and what to do. The command line prints it as one line
and exits with `exit_status`; the server maps the class to one HTTP status in one table.
"""

from __future__ import annotations

__all__ = [
    "AudioFormatError",
    "BackendError",
    "BusyModelError",
    "CancelledRequestError",
    "CapacityError",
    "CheckpointError",
    "ConfigError",
    "DeadlineError",
    "DiskFullError",
    "FilteredError",
    "GatedModelError",
    "HubError",
    "ImageFormatError",
    "InputError",
    "LastAdminError",
    "LocalGPTError",
    "MissingWeightsError",
    "OfflineError",
    "PromptTooLongError",
    "RateLimitError",
    "StoreError",
    "UnknownModelError",
    "UnsafeCheckpointError",
    "WrongHashError",
]


class LocalGPTError(Exception):
    """Base of every error a caller can meet; `exit_status` is the command line's exit code."""

    exit_status = 2


class ConfigError(LocalGPTError):
    """A setting, device name or option is unknown or has an impossible value."""


class GatedModelError(ConfigError):
    """The makers of a model want their terms accepted, and a token, before it can be pulled."""


class UnknownModelError(ConfigError):
    """There is no such model on the hub, in the catalogue or on this disk."""


class OfflineError(ConfigError):
    """The environment says that nothing may be fetched."""


class CheckpointError(LocalGPTError):
    """A model folder or file cannot be used as a checkpoint."""


class MissingWeightsError(CheckpointError):
    """No weights were found where a checkpoint was expected."""


class UnsafeCheckpointError(CheckpointError):
    """The file would run code when loaded (a pickle); only safetensors are read."""


class WrongHashError(CheckpointError):
    """The bytes of a file are not those that the hub told of, or that were pulled."""


class InputError(LocalGPTError):
    """What the caller sent cannot be used.

    Args:
        message: one line saying what was got, what was expected, what to do.
        param: the name of the offending request field, when there is one.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ImageFormatError(InputError):
    """The bytes are not a readable picture, or the picture is too large."""


class AudioFormatError(InputError):
    """The bytes are not a readable recording, or the recording is too long."""


class PromptTooLongError(InputError):
    """The prompt alone does not fit the model's context."""


class FilteredError(InputError):
    """What is wanted, or what came out, does not pass the filter that the operator of this server set."""


class LastAdminError(InputError):
    """The key is the last admin's, and somebody still needs an admin."""


class CapacityError(LocalGPTError):
    """No room at the moment (queue or memory); trying again later can succeed.

    Args:
        message: one line saying what is full and what to do.
        retry_after_s: when trying again is worth it, where that can be told.
    """

    exit_status = 3

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimitError(CapacityError):
    """The caller has used up a limit of their own; others are not held up."""


class DiskFullError(CapacityError):
    """There is no room on the disk for what was to be written."""


class BusyModelError(CapacityError):
    """Somebody pulls, checks, removes or uses a model, so that its files cannot be touched now."""


class HubError(LocalGPTError):
    """The hub that models come from cannot be reached, broke off, or changed a model meanwhile; try again."""

    exit_status = 3


class StoreError(LocalGPTError):
    """The store cannot be opened, read or written: no key, damage, a newer version, a full disk."""


class BackendError(LocalGPTError):
    """A compute backend is missing or failed."""

    exit_status = 3


class CancelledRequestError(LocalGPTError):
    """The request was cancelled before it finished."""

    exit_status = 130


class DeadlineError(CancelledRequestError):
    """The request was not finished in the time it was given."""

    exit_status = 3
