"""The catalogue: `catalogue.yaml` of the package, and a file of the same form in the data folder."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from localgpt.checkpoints.hub.address import check_repo, check_revision, split_quant
from localgpt.errors import ConfigError, LocalGPTError, UnknownModelError
from localgpt.tasks import EMBEDDED_MODEL_ID

__all__ = ["USER_FILE", "CatalogueEntry", "Job", "find_entry", "load_catalogue", "resolve_name"]

Job = Literal["chat", "vision", "paint", "listen", "speak", "detect", "embed"]
Precision = Literal["fp16", "int8", "int4"]
USER_FILE = "catalogue.yaml"  # in the data folder
_MAX_FILE_BYTES = 2**20
# What one parameter takes, with the scales of its group and what stays in half precision.
_BYTES_A_PARAMETER: Mapping[Precision, float] = {"fp16": 2.0, "int8": 1.1, "int4": 0.65}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Note(_Strict):
    """What to know of a model, in a sentence."""

    en: str = Field(min_length=1, max_length=300)
    zh: str = Field(min_length=1, max_length=300)


class Memory(_Strict):
    """Bytes of the weights at each precision, where they were measured."""

    fp16: int = Field(gt=0)
    int8: int | None = Field(default=None, gt=0)
    int4: int | None = Field(default=None, gt=0)


class CatalogueEntry(_Strict):
    """One model. `licence` is SPDX where there is such a name; `commercial` is None where it depends."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")
    repo: str
    revision: str = "main"
    job: Job
    licence: str = Field(min_length=1, max_length=100)
    commercial: bool | None
    gated: bool = False
    parameters: int = Field(gt=0)
    download_bytes: int = Field(gt=0)  # of the files that pull takes
    context: int | None = Field(default=None, gt=0)  # tokens
    memory: Memory | None = None
    note: Note

    @field_validator("repo")
    @classmethod
    def _repo(cls, value: str) -> str:
        return _checked(check_repo, value)

    @field_validator("revision")
    @classmethod
    def _revision(cls, value: str) -> str:
        return _checked(check_revision, value)

    @property
    def is_gguf(self) -> bool:
        """One GGUF file, which runs as it is."""
        return split_quant(self.repo)[1] is not None

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those it runs in, the best first; of a GGUF file the one that is nearest to its own."""
        if not self.is_gguf:
            return ("fp16", "int8", "int4")
        bits = 8 * self.download_bytes / self.parameters
        return ("int4",) if bits < 6 else ("int8",) if bits < 12 else ("fp16",)

    def memory_bytes(self, precision: Precision) -> int:
        """What the weights take in memory: as measured, else from the number of parameters."""
        if self.is_gguf:
            return self.download_bytes
        measured: int | None = getattr(self.memory, precision, None)
        return measured or round(self.parameters * _BYTES_A_PARAMETER[precision])


def load_catalogue(data_folder: Path | None = None) -> dict[str, CatalogueEntry]:
    """All entries by name; those of the user's file go before ours.

    Args:
        data_folder: where the user's file may be; None for ours alone.

    Raises:
        ConfigError: a file is broken; says which, where, what was got and what is expected.
    """
    entries = _read(Path(__file__).with_name("catalogue.yaml"))
    if data_folder is not None and (path := data_folder / USER_FILE).exists():
        entries |= _read(path)
    return entries


def find_entry(entries: Mapping[str, CatalogueEntry], name: str) -> CatalogueEntry | None:
    """The entry of that name or that repository; None if there is none."""
    if name in entries:
        return entries[name]
    return next((entry for entry in entries.values() if entry.repo.lower() == name.lower()), None)


def resolve_name(entries: Mapping[str, CatalogueEntry], name: str) -> tuple[str, CatalogueEntry | None]:
    """The repository that a user means by a name, and its entry where there is one.

    Raises:
        UnknownModelError: no such name; suggests the nearest.
    """
    if name == EMBEDDED_MODEL_ID:
        raise ConfigError(f"{name} is part of LocalGPT; there is nothing to pull")
    if entry := find_entry(entries, name):
        return entry.repo, entry
    if "/" in name:
        return check_repo(name), None
    near = difflib.get_close_matches(name.lower(), entries, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}" if near else "localgpt models lists them"
    raise UnknownModelError(
        f"no model {name!r} in the catalogue; {hint}? Any model of the hub goes as OWNER/NAME"
    )


def _checked(check: Any, value: str) -> str:
    try:
        return str(check(value))
    except LocalGPTError as error:
        raise ValueError(str(error)) from None


def _read(path: Path) -> dict[str, CatalogueEntry]:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError(f"the catalogue {path} is larger than a list of models; expected YAML")
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the catalogue {path} ({error})") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "nested too deeply"
        raise ConfigError(f"the catalogue {path} is not YAML{where}: {problem}") from None
    if not isinstance(values, dict) or set(values) != {"models"} or not isinstance(values["models"], list):
        raise ConfigError(f"the catalogue {path} is no list of models; expected 'models:' and a list below")
    entries: dict[str, CatalogueEntry] = {}
    for number, value in enumerate(values["models"], 1):
        entry = _entry(value, where=f"model {number} of the catalogue {path}")
        if entry.name in entries:
            raise ConfigError(f"the catalogue {path} has {entry.name!r} twice; give one another name")
        entries[entry.name] = entry
    return entries


def _entry(value: Any, *, where: str) -> CatalogueEntry:
    try:
        return CatalogueEntry.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if not name:
            raise ConfigError(f"{where} is {value!r}; expected its fields, such as name and repo") from None
        if first["type"] == "missing":
            raise ConfigError(f"{where} lacks {name}; add it") from None
        if first["type"] == "extra_forbidden":
            known = ", ".join(CatalogueEntry.model_fields)
            raise ConfigError(f"{where} has an unknown field {name!r}; known fields: {known}") from None
        jobs = f" ({', '.join(get_args(Job))})" if name == "job" else ""
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: {name} is {first['input']!r}{jobs}; {message}") from None
