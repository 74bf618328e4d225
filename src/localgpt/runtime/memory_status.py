"""A ledger's state as the values that travel to those who look: `tasks.MemoryStatus`."""

from __future__ import annotations

from localgpt.compute.memory import Ledger, Plan, Resident, State
from localgpt.compute.memory.state import Place
from localgpt.tasks import (
    MemoryStatus,
    PeakStatus,
    PlanStatus,
    PlanStep,
    ReservationStatus,
    ResidentStatus,
    WaitingStatus,
)

__all__ = ["memory_status"]


def memory_status(ledger: Ledger) -> MemoryStatus:
    """Everything a ledger knows, at this moment."""
    state = ledger.state()
    return MemoryStatus(
        device=ledger.device.id,
        total_bytes=ledger.device.total_bytes(),
        budget_bytes=state.budget_bytes,
        used_bytes=state.used_bytes,
        free_bytes=max(0, state.free_bytes),
        foreign_bytes=state.foreign_bytes,
        residents=tuple(_resident(state, resident) for resident in state.residents),
        reservations=tuple(
            ReservationStatus(
                name=held.need.name, shape=held.size.shape, nbytes=held.nbytes, pinned=held.need.pins
            )
            for held in state.held
        ),
        waiting=tuple(
            WaitingStatus(name=one.name, nbytes=one.nbytes, waited_s=round(one.waited_s, 3))
            for one in ledger.waiting()
        ),
        peaks=tuple(
            PeakStatus(
                model=peak.key.model,
                shape=peak.key.shape,
                dtype=peak.key.dtype,
                nbytes=peak.nbytes,
                num_measured=peak.num_measured,
            )
            for peak in ledger.peaks.peaks()
            if peak.key.device == ledger.device.name
        ),
        plans=tuple(_plan(plan) for plan in ledger.plans()),
        notices=ledger.notices(),
    )


def _resident(state: State, resident: Resident) -> ResidentStatus:
    in_place: dict[Place, int] = {"device": 0, "host": 0, "disk": 0}
    for piece in resident.pieces:
        in_place[piece.place] += piece.nbytes
    is_pinned = any(held.need.pins and resident.name in held.need.residents for held in state.held)
    reload_s = sum(state.reload_s(piece, target="disk") for piece in resident.pieces)
    return ResidentStatus(
        name=resident.name,
        kind=resident.kind,
        nbytes=resident.nbytes,
        device_bytes=in_place["device"],
        place=max(in_place, key=lambda place: in_place[place]),
        pinned=resident.is_fixed or is_pinned,
        reload_s=round(resident.remake_s if resident.kind == "cache" else reload_s, 3),
    )


def _plan(plan: Plan) -> PlanStatus:
    return PlanStatus(
        name=plan.need.name,
        shape=plan.size.shape,
        reserved_bytes=plan.reserved_bytes,
        steps=tuple(
            PlanStep(
                resident=step.resident,
                piece=step.piece,
                nbytes=step.nbytes,
                source=step.source,
                target=step.target,
            )
            for step in plan.steps
        ),
        streamed=tuple(f"{one.resident}.{name}" for one in plan.partial for name in one.streamed),
    )
