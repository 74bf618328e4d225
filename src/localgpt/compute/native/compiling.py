"""Compile the kernel library with the C++ compiler of this machine; standard library only.

The build hook calls `compile_library` for wheels and editable installs; where a compiler came later than
LocalGPT, `python -m localgpt.compute.native.compiling` does the same by hand. Nothing is tuned to the machine
that compiles: each instruction set is a file of its own, and the library chooses among them when loaded.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

__all__ = ["CompileError", "compile_library", "find_compiler", "is_current", "library_path", "main"]

SOURCE = Path(__file__).parent / "source"
_COMMON = ("decoder.cpp", "paths.cpp", "library.cpp")
_FLAGS = (
    "-std=c++17", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden",
    "-ffp-contract=off",  # the same logits on every instruction set
    "-fno-math-errno", "-Wall", "-Wextra", "-Wno-psabi",
)  # fmt: skip
_X86 = {
    "avx512vnni": ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"),
    "avxvnni": ("-mavx2", "-mavxvnni"),
    "avx2": ("-mavx2",),
}
_ARM = {"dotprod": ("-march=armv8.2-a+dotprod",)}
# By processor, then by instruction set; "portable" is on each of them.
PATHS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"x86_64": _X86, "AMD64": _X86, "aarch64": _ARM, "arm64": _ARM}
)
_TIME_LIMIT_S = 300


class CompileError(RuntimeError):
    """There is no compiler, or it failed; says which in one line."""


def library_path() -> Path:
    """Where the library lies, built or not."""
    return (
        Path(__file__).parent
        / "built"
        / ("liblocalgpt.dylib" if sys.platform == "darwin" else "liblocalgpt.so")
    )


def is_current(library: Path) -> bool:
    """Whether a library is newer than what it is made of."""
    made_of = [*SOURCE.iterdir(), Path(__file__)]
    return library.is_file() and all(path.stat().st_mtime <= library.stat().st_mtime for path in made_of)


def find_compiler() -> str:
    """The compiler: `CXX` of the environment, else g++, clang++ or c++.

    Raises:
        CompileError: there is none that takes the flags of g++.
    """
    if sys.platform == "win32":
        raise CompileError("the kernel needs g++ or clang++ on Linux or macOS; this is Windows")
    for name in filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++")):
        if found := shutil.which(name):
            return found
    raise CompileError("there is no C++ compiler (g++ or clang++)")


def compile_library(
    target: Path, *, flags: Sequence[str] = (), driver: Path | None = None
) -> tuple[str, ...]:
    """Compile and link, and put the library in its place once it is whole.

    Args:
        target: the file to write.
        flags: further ones for every command, such as those of a sanitizer.
        driver: a file with a `main`, to make a program instead of a library.

    Returns:
        The instruction sets in it; one that the compiler is too old for is left out.

    Raises:
        CompileError: there is no compiler, or it failed.
        OSError: the folder cannot be written to.
    """
    compiler = find_compiler()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".compile-") as folder:
        objects, names = [], []
        for name, machine in [*PATHS.get(platform.machine(), {}).items(), ("portable", ())]:
            made = Path(folder) / f"{name}.o"
            defines = (f"-DLOCALGPT_PATH={name}", f"-DLOCALGPT_{name.upper()}")
            command = [compiler, *_FLAGS, *flags, *machine, *defines, "-c", str(SOURCE / "kernels.cpp")]
            try:
                _run([*command, "-o", str(made)])
            except CompileError:
                if name == "portable":
                    raise
                continue
            objects.append(str(made))
            names.append(name)
        has = [f"-DLOCALGPT_HAS_{name.upper()}" for name in names]
        sources = [str(SOURCE / name) for name in _COMMON]
        sources.append("-shared" if driver is None else str(driver))
        whole = Path(folder) / target.name
        _run([compiler, *_FLAGS, *flags, *has, *sources, *objects, "-o", str(whole)])
        whole.replace(target)
    return tuple(names)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompileError(f"the C++ compiler could not be run ({error})") from None
    if done.returncode != 0:
        first = next(
            (line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200].strip()
        )
        raise CompileError(f"{Path(command[0]).name} failed: {first}")


def main() -> int:
    """Compile into the package; exit status 1, with one line, where it cannot be done."""
    try:
        names = compile_library(library_path())
    except (CompileError, OSError) as error:
        sys.stderr.write(f"kernel: not built: {error}\n")
        return 1
    sys.stderr.write(f"kernel: built for {', '.join(names)}: {library_path()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
