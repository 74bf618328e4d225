"""`benchmarks/gpu_decode.py` runs dry on a CPU, with all ways of making tokens that there are on one."""

from __future__ import annotations

from argparse import Namespace

import pytest
import torch

from benchmarks import gpu_decode


def test_a_dry_run_measures_all_sides() -> None:
    args = Namespace(
        device="cpu",
        dry=True,
        fp16=False,
        tokens=3,
        rounds=1,
        compile=False,
        tiles=True,
        model=None,
        seconds=60.0,
        random=False,
    )
    found = gpu_decode.report(args)
    ours, peers = ("eager", "fixed", "device"), ("eager", "static cache")
    assert set(found["sides"]) == {
        *(f"ours, {way}" for way in ours),
        *(f"transformers, {way}" for way in peers),
    }
    assert all(side["tokens_per_s"] > 0 for side in found["sides"].values())


def test_random_weights_have_the_embedded_shape() -> None:
    decoder, _ = gpu_decode.random_decoder(torch.device("meta"), torch.bfloat16)
    assert sum(parameter.numel() for parameter in decoder.parameters()) > 100e6
    assert next(decoder.parameters()).dtype == torch.bfloat16


def test_without_a_card_it_says_what_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gpu_decode.py", "--device", "cpu"])
    with pytest.raises(SystemExit, match="expected a CUDA or ROCm device, or --dry"):
        gpu_decode.main()
