"""Benchmarks for graphics cards run dry on a CPU: true classes in tiny shapes; nothing fails in silence."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import gpu_all, gpu_common, gpu_llm, gpu_paint, gpu_painters, gpu_shapes, memory_ladder, swaps

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
DRY = ["--tiny", "--device", "cpu", "--json"]


def printed(main: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    main([*DRY, *more])
    captured = capsys.readouterr()
    assert "figures mean nothing" in captured.err
    found = json.loads(captured.out)
    assert "random" in found["machine"]["weights"] and found["machine"]["torch"] == torch.__version__
    return found


def test_language(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(gpu_llm.main, capsys)
    assert set(found["sides"]) == {"int4", "int4, plain", "transformers bf16, eager"}
    for side in found["sides"].values():
        assert side["tokens_per_s"] > 0 and side["share_of_copy"] >= 0 and side["times_eager"] > 0
    assert "not fused" in found["sides"]["int4"]["path"]
    assert set(found["under_the_cap"]) == {"int4", "int4, plain"}
    assert found["weights_gib"]["int4"] <= found["weights_gib"]["bfloat16"]


def test_painting(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(gpu_paint.main, capsys)
    assert found["cap"]["plan"] == "64x64 x1" and found["cap"]["switches"] == "exact"
    assert found["steps"]["ours, exact"]["times_eager"] > 0
    for batch in ("batch 1", "batch 2"):
        assert found["turbo"][batch]["ours"]["images_per_s"] > 0
    drift = {
        name: row["psnr_to_plain_db"] for name, row in found["switches"].items() if isinstance(row, dict)
    }
    assert drift["texts remembered"] is None  # the same picture, to the last bit
    assert drift["exact, together"] is None or drift["exact, together"] > 40
    assert drift["inner blocks on every 2nd step"] is not None
    assert set(gpu_paint.SWITCHES) < set(drift)
    assert found["flops"]["step_tflop"] > 0 and "PROJECTION" in found["flops"]["projection"]["what"]


def test_memory(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(memory_ladder.main, capsys)
    rungs = found["language"]
    weights = [rungs[name]["weight_bytes"] for name in ("float32", "float16", "int8", "int4")]
    assert weights == sorted(weights, reverse=True)
    assert rungs["float16"]["divergence_nats"] < rungs["int4"]["divergence_nats"]
    assert rungs["float16"]["saved"] == 0.5
    assert found["painting"]["bfloat16"]["saved"] == 0.5 and found["painting"]["bfloat16"]["step_db"] > 20


def test_turns(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(swaps.main, capsys)["swaps"]
    assert found["turns"] == 2 and set(found["table"]) == set(swaps.GUESSES)
    assert all(row["ready_s"] >= 0 and row["work_s"] > 0 for row in found["table"].values())
    assert len(found["pair"]["to paint"]) == len(found["pair"]["to language"]) == 3
    assert found["left_of_cap"] == found["drift_of_cap"] == 0.0


def test_a_capped_card_counts_what_nobody_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3 * gpu_common.GIB)
    monkeypatch.setattr(swaps.CudaDevice, "move", lambda self, holder, piece, source, target: len(piece))
    card = swaps.CappedCard("cuda:0")
    assert card.total_bytes() == gpu_common.CAP_BYTES
    assert card.free_bytes() == gpu_common.CAP_BYTES - 3 * gpu_common.GIB
    stage: Any = SimpleNamespace(card=card)
    for piece in ("aaaa", "b", "cc"):
        card.move(SimpleNamespace(name="paint"), piece, "device", "host")  # type: ignore[arg-type]
    assert swaps.Stage.moves_of(stage, "paint") == {"out_first_s": 4, "out_s": 2}
    assert swaps.Stage.moves_of(stage, "speak") == {}


def test_shapes_are_the_true_ones() -> None:
    meta = torch.device("meta")
    xl = gpu_painters.sdxl(meta, torch.float16, tiny=False)
    sizes = {name: num_params(part) for name, part in xl.components.items() if hasattr(part, "parameters")}
    assert sizes["unet"] == 2_567_463_684 and sizes["vae"] == 83_653_863
    assert sizes["text_encoder"] == 123_060_480 and sizes["text_encoder_2"] == 694_659_840
    assert num_params(gpu_painters.turbo(meta, torch.float16, tiny=False).unet) == 865_910_724
    llama = gpu_shapes.random_network(gpu_shapes.llama_config("8b"), meta, torch.bfloat16)
    assert num_params(llama) == 8_030_261_248


def num_params(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_no_matrix_is_left_zero() -> None:
    layer = torch.nn.Linear(4, 4).requires_grad_(False)
    layer.weight.zero_()
    layer.bias.zero_()
    gpu_shapes.leave_no_zeros(layer)
    assert float(layer.weight.std()) > 0 and not layer.bias.any()


def test_a_side_that_fails_is_told_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []

    def fails() -> None:
        calls.append("fails")
        raise ValueError("too wide\nand more")

    rounds = gpu_common.Rounds(torch.device("cpu"), 2, time.perf_counter() + 60)
    rounds.run({"fails": fails, "runs": lambda: calls.append("runs")})
    assert calls.count("fails") == 1 and calls.count("runs") == 3
    assert rounds.row("fails") == {"failed": "ValueError: too wide"} and rounds.row("runs")["rounds"] == 2
    with pytest.raises(SystemExit, match="sides fails: ValueError: too wide"):
        gpu_common.tell(
            {"sides": {"fails": rounds.row("fails")}}, argparse.Namespace(tiny=False, json=True), []
        )
    assert json.loads(capsys.readouterr().out)["sides"]["fails"]["failed"]


def test_a_side_is_stopped_where_the_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    rounds = gpu_common.Rounds(torch.device("cpu"), 2, time.perf_counter() + 0.3)
    rounds.run({"quick": lambda: 1, "hangs": lambda: threading.Event().wait(), "late": lambda: 1})
    assert rounds.first.keys() == {"quick"} and "hangs: stopped after 0.3 s" in capsys.readouterr().err
    for name in ("hangs", "late"):
        assert rounds.row(name) == {"failed": "there was no time left to measure it"}
    with pytest.raises(gpu_common.TimeUpError), gpu_common.stopped_at(time.perf_counter() - 1):
        raise AssertionError
    with gpu_common.stopped_at(time.perf_counter() + 0.1):
        pass
    time.sleep(0.2)  # nothing comes any more


def test_decibels() -> None:
    picture = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    assert gpu_common.psnr(picture, picture) is None
    assert gpu_common.psnr(picture, picture + 255) == 0.0


def script(folder: Path, name: str, code: str, **more: Any) -> gpu_all.Part:
    path = folder / f"{name}.py"
    path.write_text(code)
    return gpu_all.Part(name=name, arguments=(str(path),), **{"seconds": 30.0, "has_clock": False} | more)


def test_the_driver_goes_on_after_a_part_that_fails(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    parts = [
        script(tmp_path, "hangs", "import threading; threading.Event().wait()", seconds=0.05),
        script(tmp_path, "crashes", "import sys; print('{}'); sys.exit('broken here')"),
        script(tmp_path, "silent", ""),
        script(
            tmp_path, "good", "import sys, json; print(json.dumps({'got': sys.argv[1:]}))", has_clock=True
        ),
    ]
    args = argparse.Namespace(out=str(out), device="cpu", seconds=600.0, only=None, tiny=True)
    found = gpu_all.run_all(args, parts)
    assert found["crashes"]["ended"].startswith("failed with status 1")
    assert found["silent"]["ended"] == "failed: no figures were printed"
    assert found["hangs"]["ended"].startswith("failed: stopped after 0 s")
    assert found["good"]["ended"] == "done"
    got = json.loads((out / "good.json").read_text())["got"]
    assert got[:4] == ["--device", "cpu", "--json", "--tiny"] and got[4] == "--seconds"
    assert "broken here" in (out / "log.txt").read_text()
    assert json.loads((out / "summary.json").read_text()) == found
    late = argparse.Namespace(out=str(out), device="cpu", seconds=0.0, only="good", tiny=True)
    assert "no time left" in gpu_all.run_all(late, parts)["good"]["ended"]


def test_the_driver_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="this needs a CUDA or ROCm device"):
        gpu_all.main(["--out", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()
    monkeypatch.setattr(gpu_all, "find_spec", lambda name: None)
    assert "the package diffusers" in gpu_all.lacking("cpu")


def test_every_part_is_a_script_that_is_there() -> None:
    for part in gpu_all.PARTS:
        assert (gpu_all.ROOT / part.arguments[0]).is_file()
    assert sum(part.seconds for part in gpu_all.PARTS) <= 1200
