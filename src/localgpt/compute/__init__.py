"""Backends and devices: which are here, which one a name means, whether they compute."""

from localgpt.compute.backends import Backend, DeviceReport, Found, all_backends
from localgpt.compute.check import DeviceCheck, check_int8, int8_kernel
from localgpt.compute.devices import DeviceChoice, describe_devices, resolve_device

__all__ = [
    "Backend",
    "DeviceCheck",
    "DeviceChoice",
    "DeviceReport",
    "Found",
    "all_backends",
    "check_int8",
    "describe_devices",
    "int8_kernel",
    "resolve_device",
]
