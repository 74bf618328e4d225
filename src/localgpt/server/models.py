"""Which model names are answered: the models there are, and the aliases that stand for them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from localgpt import __version__
from localgpt.server.aliases import aliases_of, target_of
from localgpt.server.errors import WireError
from localgpt.server.gateway import Gateway
from localgpt.server.schemas.service import ModelExtension, ModelItem, UpstreamExtension
from localgpt.tasks import EMBEDDED_MODEL_ID, ModelStatus, Status, split_upstream

__all__ = ["AnsweringModel", "find_model", "resolve_model", "served_models"]

OWNED_BY = "localgpt"


@dataclass(frozen=True, slots=True)
class AnsweringModel:
    """The model that answers a request, whatever name it was asked by; replies name it."""

    id: str
    fingerprint: str  # changes when the same seed may give another answer


async def served_models(gateway: Gateway) -> list[ModelItem]:
    """Every name that may be asked for: the embedded family first, then what else is loaded, then aliases."""
    items = _real_models(gateway, await gateway.service.status())
    created = {item.id: item.created for item in items}
    aliases = aliases_of(gateway.settings)
    return items + [
        _alias(name, target, created[target])
        for name, target in aliases.items()
        if target in created and name not in created
    ]


async def find_model(gateway: Gateway, name: str) -> ModelItem:
    """The list's entry for a name; dated versions of aliases are found too.

    Raises:
        WireError: 404; there is none.
    """
    status = await gateway.service.status()
    items = _real_models(gateway, status)
    target = _target(gateway, name, items, status)
    found = next((item for item in items if item.id == target), None)
    if found is None:
        raise _no_model(f"{target!r} is not in the list of its upstream", items)
    return found if name == target else _alias(name, target, found.created)


async def resolve_model(gateway: Gateway, name: str) -> AnsweringModel:
    """The model that answers to a name; while the models are loading, the service is asked for any name.

    Raises:
        WireError: 404; there is none.
    """
    status = await gateway.service.status()
    items = _real_models(gateway, status)
    if not status.ready and target_of(name, aliases_of(gateway.settings)) is None:
        items.append(ModelItem(id=name, created=gateway.started_at, owned_by=OWNED_BY))
    target = _target(gateway, name, items, status)
    # Of what is known before the models are loaded, so that the first answer has it too.
    device, is_half = status.device.partition(":")[0], gateway.settings.fp16
    parts = repr((__version__, target, device, is_half, gateway.settings.quantize))
    return AnsweringModel(id=target, fingerprint=f"fp_{hashlib.sha256(parts.encode()).hexdigest()[:12]}")


def _target(gateway: Gateway, name: str, items: list[ModelItem], status: Status) -> str:
    known = [item.id for item in items]
    if name in known or _is_of_upstream(gateway, name):
        return name
    for model in status.models:
        if name in model.names:
            return model.id
    target = target_of(name, aliases_of(gateway.settings))
    if target in known or (target is not None and _is_of_upstream(gateway, target)):
        return target
    what = f"no model is called {name!r}" if target is None else f"{name!r} stands for {target!r}, not loaded"
    raise _no_model(what, items)


def _no_model(what: str, items: list[ModelItem]) -> WireError:
    known = ", ".join(item.id for item in items)
    return WireError(
        404,
        f"{what}; this server has {known}, and aliases that /v1/models lists",
        param="model",
        code="model_not_found",
    )


def _is_of_upstream(gateway: Gateway, name: str) -> bool:
    """Whether an upstream is asked for that name, which may be away or not list all that it has."""
    parts = split_upstream(name)
    return parts is not None and parts[0] in gateway.settings.upstreams and bool(parts[1])


def _real_models(gateway: Gateway, status: Status) -> list[ModelItem]:
    models = {model.id: model for model in status.models}
    embedded = models.pop(EMBEDDED_MODEL_ID, None)  # its name is answered whatever is loaded
    first = gateway.started_at if embedded is None else embedded.created
    items = [ModelItem(id=EMBEDDED_MODEL_ID, created=first, owned_by=OWNED_BY)]
    items.extend(_item(model) for model in models.values())
    return items


def _item(model: ModelStatus) -> ModelItem:
    if model.upstream is None:
        return ModelItem(id=model.id, created=model.created, owned_by=OWNED_BY)
    extension = UpstreamExtension(upstream=model.upstream, leaves_machine=model.leaves_machine)
    return ModelItem(id=model.id, created=model.created, owned_by=model.upstream, localgpt=extension)


def _alias(name: str, target: str, created: int) -> ModelItem:
    return ModelItem(id=name, created=created, owned_by=OWNED_BY, localgpt=ModelExtension(alias_of=target))
