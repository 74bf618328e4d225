"""Devices: which are here, which one a name means."""

from localgpt.compute.devices import DeviceChoice, DeviceReport, describe_devices, resolve_device

__all__ = ["DeviceChoice", "DeviceReport", "describe_devices", "resolve_device"]
