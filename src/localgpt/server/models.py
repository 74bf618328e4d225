"""Which model names are answered."""

from __future__ import annotations

from localgpt.server.errors import WireError
from localgpt.server.gateway import Gateway
from localgpt.server.schemas.service import ModelItem
from localgpt.tasks import EMBEDDED_MODEL_ID

__all__ = ["check_model", "served_models"]

OWNED_BY = "localgpt"


async def served_models(gateway: Gateway) -> list[ModelItem]:
    """Every name that may be asked for; the embedded family's id is always the first, whatever is loaded."""
    status = await gateway.service.status()
    created = {model.id: model.created for model in status.models}
    first = created.pop(EMBEDDED_MODEL_ID, gateway.started_at)
    items = [ModelItem(id=EMBEDDED_MODEL_ID, created=first, owned_by=OWNED_BY)]
    items.extend(ModelItem(id=name, created=when, owned_by=OWNED_BY) for name, when in created.items())
    return items


async def check_model(gateway: Gateway, model: str) -> ModelItem:
    """The served model of that name.

    Raises:
        WireError: 404; there is none.
    """
    items = await served_models(gateway)
    for item in items:
        if item.id == model:
            return item
    known = ", ".join(item.id for item in items)
    raise WireError(
        404, f"no model is called {model!r}; this server has {known}", param="model", code="model_not_found"
    )
