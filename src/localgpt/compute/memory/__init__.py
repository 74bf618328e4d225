"""The memory ledger: one device's bytes, measured and shared out among all models."""

from localgpt.compute.memory.device import Device, Holder, Measured, Meter
from localgpt.compute.memory.hardware import CpuDevice, CudaDevice, device_of, reserve_bytes
from localgpt.compute.memory.ledger import Budget, Ledger
from localgpt.compute.memory.modules import ModuleHolder, give_back_pinned
from localgpt.compute.memory.peaks import Peak, PeakBook, PeakKey
from localgpt.compute.memory.planning import Partial, Plan, Step, TooLarge, Wait, make_plan
from localgpt.compute.memory.sizes import Shape, smaller_sizes
from localgpt.compute.memory.state import Held, Need, Piece, Resident, Size, State
from localgpt.compute.memory.waiting import Reservation, Waiting

__all__ = [
    "Budget",
    "CpuDevice",
    "CudaDevice",
    "Device",
    "Held",
    "Holder",
    "Ledger",
    "Measured",
    "Meter",
    "ModuleHolder",
    "Need",
    "Partial",
    "Peak",
    "PeakBook",
    "PeakKey",
    "Piece",
    "Plan",
    "Reservation",
    "Resident",
    "Shape",
    "Size",
    "State",
    "Step",
    "TooLarge",
    "Wait",
    "Waiting",
    "device_of",
    "give_back_pinned",
    "make_plan",
    "reserve_bytes",
    "smaller_sizes",
]
