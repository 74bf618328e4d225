"""docs/deployment.md: every block is what it says it is, and what can run here runs."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import typer
from typer.main import get_command

from benchmarks import hardware
from benchmarks.hardware import COLUMNS
from localgpt.cli.main import app
from localgpt.server import create_app
from localgpt.settings import Settings
from tests.api.fake_service import FakeService
from tests.served import PATIENCE_S

PAGE = (Path(__file__).parents[1] / "docs" / "deployment.md").read_text(encoding="utf-8")
UNIT_LIMIT_S = 30
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
INSTRUCTIONS = {
    "FROM",
    "RUN",
    "COPY",
    "WORKDIR",
    "USER",
    "ENV",
    "VOLUME",
    "EXPOSE",
    "HEALTHCHECK",
    "STOPSIGNAL",
    "ENTRYPOINT",
}


@dataclass(frozen=True)
class Block:
    """A block of the page, and where it begins."""

    line: int
    language: str
    text: str
    runs: bool


def blocks() -> list[Block]:
    found = re.finditer(r"^(<!-- runs -->\n)?```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [Block(PAGE.count("\n", 0, one.start(2)) + 1, one[2], one[3], one[1] is not None) for one in found]


def of(*languages: str) -> list[Block]:
    return [block for block in blocks() if block.language in languages]


def named(block: Block) -> str:
    return f"line-{block.line}"


def test_every_block_is_of_a_kind_that_is_looked_at() -> None:
    assert {block.language for block in blocks()} == {"sh", "ini", "nginx", "dockerfile", "powershell"}
    assert sum(block.runs for block in blocks()) >= 1
    assert PAGE.count("```") == 2 * len(blocks())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("block", of("sh"), ids=named)
def test_shell_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def command_lines() -> list[list[str]]:
    """Every `localgpt` line of the shell blocks, and that of the unit and the image, as words."""
    lines = [line for block in of("sh") for line in re.sub(r"\\\n\s*", " ", block.text).splitlines()]
    found = [re.search(r"^(?:\S*/)?localgpt (.*)$", line) for line in lines]
    texts = [re.sub(r"\s[>|&].*$", "", one[1]) for one in found if one]
    texts += re.findall(r"^ExecStart=\S*/localgpt (.*)$", PAGE, re.MULTILINE)
    words = [shlex.split(text, comments=True) for text in texts]
    (entrypoint,) = re.findall(r"^ENTRYPOINT (\[.*\])$", PAGE, re.MULTILINE)
    return [*words, json.loads(entrypoint)[1:]]


def parse(words: list[str]) -> None:
    """Have the command line read some words without doing anything."""
    command = get_command(app)
    path = "localgpt"
    while True:
        context = command.make_context(path, list(words), resilient_parsing=words == ["--version"])
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        if not hasattr(command, "commands") or not rest:
            return
        path, command, words = command.resolve_command(context, rest)  # type: ignore[attr-defined,assignment]


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_the_command_line_takes_what_the_page_writes(words: list[str]) -> None:
    parse(words)


@pytest.mark.parametrize(
    "text", ["serve --no-such-option", "nothing", "keys nothing", "chat --max-tokens many"]
)
def test_and_nothing_else(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text.split())


def test_there_are_command_lines_to_look_at() -> None:
    assert len(command_lines()) > 12


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("block", [block for block in blocks() if block.runs], ids=named)
def test_blocks_that_run_run(block: Block, family_folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "localgpt"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m localgpt "$@"\n')
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCALGPT_")}
    environment = kept | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
        "LOCALGPT_MODEL": str(family_folder),
        "LOCALGPT_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=4 * PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "generated_text" in done.stdout


def the_unit() -> str:
    (unit,) = (block.text for block in of("ini"))
    return unit


def test_the_unit_is_one() -> None:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(the_unit())
    assert unit.sections() == ["Unit", "Service", "Install"]
    service = unit["Service"]
    drain_s = int(re.findall(r"--drain (\d+)", service["ExecStart"])[0])
    assert int(service["TimeoutStopSec"]) > drain_s, "systemd would kill what is still allowed to answer"
    assert service["Environment"] == f"LOCALGPT_HOME=/var/lib/{service['StateDirectory']}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "localgpt.service"
    path.write_text(the_unit().replace("/opt/localgpt/.venv/bin/localgpt", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True, text=True, timeout=UNIT_LIMIT_S, check=False,
    )  # fmt: skip
    about_ours = [line for line in done.stderr.splitlines() if "localgpt" in line]
    assert done.returncode == 0 and not about_ours, done.stderr


def the_image() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments, continued lines as one."""
    (block,) = of("dockerfile")
    lines = re.sub(r"\\\n\s*", " ", block.text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def test_the_image_is_made_of_instructions() -> None:
    image = the_image()
    assert {name for name, _ in image} <= INSTRUCTIONS and image[0][0] == "FROM"
    stages = [rest.split(" AS ") for name, rest in image if name == "FROM"]
    assert [len(stage) for stage in stages] == [2, 1]
    for name, rest in image:
        if name == "COPY" and (source := re.match(r"--from=(\S+) ", rest)):
            assert source[1] == stages[0][1]
        if name == "RUN":
            done = subprocess.run(["sh", "-n"], input=rest, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        if "[" in rest and name in ("ENTRYPOINT", "HEALTHCHECK"):
            words = json.loads(rest[rest.index("[") :])
            assert all(isinstance(word, str) for word in words)
            if words[0] == "python":
                compile(words[2], "healthcheck", "exec")
    users = [rest for name, rest in image if name == "USER"]
    assert users and users[-1] != "root"
    variables = dict(pair.split("=", 1) for name, rest in image if name == "ENV" for pair in rest.split())
    known = {f"LOCALGPT_{name.upper()}" for name in Settings.model_fields} | {"LOCALGPT_HOME", "PATH"}
    assert set(variables) <= known and variables["LOCALGPT_HOME"] in [
        rest for name, rest in image if name == "VOLUME"
    ]


async def test_the_images_health_is_told_without_a_key() -> None:
    settings = Settings(host="0.0.0.0", api_keys=("a-long-enough-key",))
    transport = httpx.ASGITransport(create_app(settings, FakeService()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/v1/models")).status_code == 401


def test_the_proxy_is_balanced_and_passes_what_is_needed() -> None:
    (block,) = of("nginx")
    lines = [re.sub(r"#.*", "", line).strip() for line in block.text.splitlines()]
    assert all(line.endswith((";", "{", "}")) for line in lines if line)
    assert block.text.count("{") == block.text.count("}")
    for needed in ("proxy_buffering off;", "proxy_set_header Host", "client_max_body_size 64m;"):
        assert needed in block.text


def test_rows_of_the_hardware_table_are_those_of_the_script() -> None:
    table = PAGE.partition("## What hardware does")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    assert tuple(cell.strip() for cell in rows[0]) == COLUMNS
    for row in rows[2:]:
        cells = dict(zip(COLUMNS, (cell.strip() for cell in row), strict=True))
        assert float(cells["tokens/s"]) > 0 and float(cells["picture s"]) > 0 and float(cells["start s"]) > 0
        assert re.fullmatch(r"\d+ MiB", cells["resident"]) and re.fullmatch(r"\d{4}-\d\d-\d\d", cells["date"])
    assert len(rows) > 2


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", PAGE))
def test_links_lead_somewhere(link: str) -> None:
    path, _, heading = link.partition("#")
    if path.startswith("http"):
        return
    text = PAGE if not path else (Path(__file__).parents[1] / "docs" / path).read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w -]", "", one).strip().lower().replace(" ", "-")
        for one in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    assert not heading or heading in headings


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_script_prints_a_row(family_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hardware.main(
        ["--model", str(family_folder), "--runs", "1", "--max-tokens", "16", "--device", "cpu", "--header"]
    )
    head, line, row = capsys.readouterr().out.splitlines()
    assert f"{head}\n{line}" in PAGE
    assert row.count("|") == len(COLUMNS) + 1 and " cpu, " in row
