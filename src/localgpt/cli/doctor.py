"""`localgpt doctor`: what this machine has, and what LocalGPT makes of it."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgpt import __version__
from localgpt.cli.console import print_json, write_text
from localgpt.cli.machine import memory_bytes
from localgpt.cli.options import DataDirOption, JsonOption, ModelOption, settings_of
from localgpt.cli.upstreams import UpstreamsOption, look_at_upstreams, upstream_values
from localgpt.errors import LocalGPTError
from localgpt.units import format_bytes

if TYPE_CHECKING:
    from localgpt.settings import Settings

__all__ = ["doctor"]


def doctor(
    json: JsonOption = False,
    model: ModelOption = None,
    upstreams: UpstreamsOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Tell what this machine has and what LocalGPT makes of it.

    Every device runs a small network, which is timed and held against float64 on the CPU. "missing" says why
    the other kinds of device are not here, "problems" what needs attention; nothing is changed. Upstreams are
    asked which models they have, and nothing else is sent anywhere.
    """
    from localgpt.settings import data_folder

    settings = settings_of(model=model, upstreams=upstream_values(upstreams), data_dir=data_dir)
    report = _software() | _hardware(settings.cpu_kernel) | _weights(settings.model) | _upstreams(settings)
    report["page_built"] = _page_is_built()
    report["data_folder"] = str(data_folder(settings))
    report["problems"] = _problems(report)
    if json:
        print_json(report)
        return
    for line in _as_lines(report):
        write_text(line)


def _software() -> dict[str, Any]:
    import torch

    return {
        "localgpt": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "gguf": _version("llama-cpp-python"),
    }


def _version(package: str) -> str | None:
    """Of an installed package; asked of its description, so that nothing is loaded."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _hardware(cpu_kernel: str) -> dict[str, Any]:
    import torch

    from localgpt.compute import all_backends, check_int8, int8_kernel
    from localgpt.compute.native.check import check_kernel

    found = [(backend, backend.find()) for backend in all_backends()]
    devices = [
        {**asdict(device), **asdict(backend.check(device.device))}
        for backend, kind in found
        for device in kind.devices
    ]
    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": memory_bytes("SC_PHYS_PAGES"),
        "free_memory_bytes": memory_bytes("SC_AVPHYS_PAGES"),
        "decoder": asdict(check_kernel()) | {"setting": cpu_kernel},
        "int8": {"kernel": int8_kernel(), **asdict(check_int8())},
        "devices": devices,
        "missing": {backend.kind: kind.missing for backend, kind in found if kind.missing},
    }


def _weights(model: str | None) -> dict[str, Any]:
    from localgpt.checkpoints import describe_family, resolve_family

    try:
        summary = describe_family(resolve_family(model))
    except LocalGPTError as error:
        return {"weights": {"found": False, "detail": str(error)}}
    found = {"found": True, "id": summary.id, "path": str(summary.path)}
    return {"weights": found | {"parameters": summary.num_params, "bytes": summary.num_bytes}}


def _upstreams(settings: Settings) -> dict[str, Any]:
    try:
        return {"upstreams": look_at_upstreams(settings)}
    except LocalGPTError as error:
        return {"upstreams": [], "upstreams_trouble": str(error)}


def _page_is_built() -> bool:
    from localgpt.server.gateway import STATIC_DIR

    return (STATIC_DIR / "index.html").is_file()


def _problems(report: dict[str, Any]) -> list[str]:
    problems = [
        f"{device['device']} does not compute: {device['detail']}"
        for device in report["devices"]
        if not device["works"]
    ]
    if report["decoder"]["detail"]:
        problems.append(
            f"the decoding kernel is wrong ({report['decoder']['detail']}); set LOCALGPT_CPU_KERNEL=off"
        )
    if not report["int8"]["works"]:
        problems.append(f"the int8 kernel is wrong: {report['int8']['detail']}")
    if not report["weights"]["found"]:
        problems.append(report["weights"]["detail"])
    problems += [one["trouble"] for one in report["upstreams"] if one["trouble"]]
    if trouble := report.get("upstreams_trouble"):
        problems.append(trouble)
    if not report["page_built"]:
        problems.append("the page is not built; in the source folder run: make page")
    folder = Path(report["data_folder"])
    if folder.exists() and not os.access(folder, os.W_OK):
        problems.append(f"the data folder {folder} cannot be written to; choose another with --data-dir")
    return problems


def _as_lines(report: dict[str, Any]) -> list[str]:
    memory = "unknown"
    if report["memory_bytes"] and report["free_memory_bytes"]:
        memory = f"{format_bytes(report['memory_bytes'])}, {format_bytes(report['free_memory_bytes'])} free"
    int8, weights = report["int8"], report["weights"]
    rows = [
        ("LocalGPT", report["localgpt"]),
        ("Python", f"{report['python']} ({sys.executable})"),
        ("platform", report["platform"]),
        ("torch", report["torch"]),
        ("CPU", f"{report['cpu']}, {report['cores']} cores, {report['threads']} threads used"),
        ("memory", memory),
        ("decoding", _decoding(report["decoder"])),
        ("int8 kernel", f"{int8['kernel']}: {_verdict(int8)}"),
    ]
    for device in report["devices"]:
        size = f", {format_bytes(device['memory_bytes'])}" if device["memory_bytes"] else ""
        rows.append((device["device"], f"{device['name']}{size}: {_verdict(device)}"))
    rows += [(kind, f"none: {why}") for kind, why in report["missing"].items()]
    if weights["found"]:
        sizes = f"{weights['parameters'] / 1e6:.1f} M parameters, {format_bytes(weights['bytes'])}"
        rows.append(("weights", f"{weights['id']}, {sizes}, in {weights['path']}"))
    else:
        rows.append(("weights", "none"))
    rows.append(("GGUF", _gguf_row(report["gguf"])))
    for one in report["upstreams"]:
        state = f"{len(one['models'])} models" if one["trouble"] is None else "does not answer"
        leaves = ", what is asked of it leaves this machine" if one["leaves_machine"] else ""
        rows.append((f"upstream:{one['name']}", f"{one['base_url']} ({one['kind']}): {state}{leaves}"))
    rows.append(("page", "built" if report["page_built"] else "not built"))
    rows.append(("data folder", report["data_folder"]))
    lines = [f"{name:<12} {value}" for name, value in rows]
    return [*lines, *(f"Problem: {problem}" for problem in report["problems"])]


def _gguf_row(version: str | None) -> str:
    if version is None:
        return "no llama.cpp for GGUF models; pip install 'localgpt[gguf]' builds it"
    return f"llama-cpp-python {version}"


def _decoding(check: dict[str, Any]) -> str:
    """What decodes on the CPU, and why it is not the kernel."""
    if check["missing"]:
        return f"in torch: {check['missing']}"
    kernel = f"our kernel, {check['paths'][0]} (of {', '.join(check['paths'])}): {_verdict(check)}"
    return kernel if check["setting"] == "auto" else f"in torch: LOCALGPT_CPU_KERNEL is off; {kernel}"


def _verdict(check: dict[str, Any]) -> str:
    if check["works"]:
        time = "" if check["time_ms"] is None else f" in {check['time_ms']:.2f} ms"
        return f"works{time}, largest error {check['max_error']:.1e}"
    return f"fails: {check['detail']}"
