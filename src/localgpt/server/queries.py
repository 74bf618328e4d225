"""Query parameters that a route does not read are refused, as unknown fields of bodies are."""

from __future__ import annotations

from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel

from localgpt.server.errors import WireError

__all__ = ["refuse_unknown_queries"]

_API = ("/v1/", "/api/")  # those who ask whether the server lives add what they like


def refuse_unknown_queries(request: Request) -> None:
    """A dependency of every family of routes.

    Raises:
        WireError: 400; a query parameter is not one of the route's, and `param` names it.
    """
    if not (request.query_params and request.url.path.startswith(_API)):
        return
    known = _names(request.scope["route"].dependant)
    for name in request.query_params:
        if name not in known:
            raise WireError(400, f"{name} is not a parameter of this route", param=name)


def _names(dependant: Dependant) -> set[str]:
    names: set[str] = set()
    for field in dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= {one.alias or name for name, one in kind.model_fields.items()}
        else:
            names.add(field.alias)
    return names.union(*(_names(one) for one in dependant.dependencies))
