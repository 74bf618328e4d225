"""Devices: which are here, which one a name means, whether they compute."""

from localgpt.compute.check import DeviceCheck, check_device, check_int8, int8_kernel
from localgpt.compute.devices import DeviceChoice, DeviceReport, describe_devices, resolve_device

__all__ = [
    "DeviceCheck",
    "DeviceChoice",
    "DeviceReport",
    "check_device",
    "check_int8",
    "describe_devices",
    "int8_kernel",
    "resolve_device",
]
