"""Parts of recipes whose faults a run would hide: places, the reader's table, weights kept and restored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from localgpt.checkpoints import read_tensors
from localgpt.nn.linear import dequantize_weight
from localgpt.training.losses import IGNORE, token_loss
from recipes.common import RunOptions
from recipes.export import keep_equal, pack_int8
from recipes.joint_model import JointModel
from recipes.picture_rows import TextTurn
from recipes.places import place_table
from recipes.reader import Reader, ReaderOptions, TurnTable
from recipes.registry import run_recipe
from tests.recipes.tiny_data import write_data
from tests.tiny import make_decoder

READER = ReaderOptions(n_embd=16, n_layer=1, n_head=2, max_len=24, most_turns=2)


def test_near_places_look_alike_and_a_line_tells_left_from_right() -> None:
    side, table = 14, place_table(14, 64)
    assert table.std() == pytest.approx(0.15, rel=1e-4)
    unit = torch.nn.functional.normalize(table - table.mean(0), dim=1).view(side, side, 64)
    near = (unit[:, :-1] * unit[:, 1:]).sum(-1).mean()
    far = (unit[:, :3] * unit[:, -3:]).sum(-1).mean()
    assert near > far + 0.3
    columns = torch.cat([table, torch.ones(side * side, 1)], dim=1).double()
    line = torch.arange(side).double()
    for wanted in (line.repeat_interleave(side), line.repeat(side)):  # one linear map gives row and column
        told = columns @ torch.linalg.lstsq(columns, wanted[:, None], driver="gelsd").solution
        assert (told[:, 0] - wanted).abs().max() < 0.5


def test_the_reader_learns_answers_of_the_pictures_it_sees(tmp_path: Path) -> None:
    tokenizer = write_data(tmp_path)
    turns = [[TextTurn("What colour?", "red")], [], [TextTurn("A " * 40, "too long"), TextTurn("B?", "blue")]]
    table = TurnTable.build(turns, tokenizer, READER, "cpu")
    assert table.count.tolist() == [1, 0, 1]
    ids, targets = table.draw(torch.tensor([0, 1, 2]), torch.Generator().manual_seed(0))
    said = [[int(i) for i in row if i != IGNORE] for row in targets]
    assert tokenizer.decode(said[0][:-1]) == "red"
    assert said[1] == []
    assert tokenizer.decode(said[2][:-1]) == "blue"
    reader = Reader(READER, n_feature=8, vocab_size=tokenizer.vocab_size, grid_size=4)
    features = torch.randn(3, 4, 8, requires_grad=True)  # a smaller grid: places are interpolated
    reader.loss(features, ids, targets).backward()
    assert features.grad is not None
    assert features.grad[0].any()
    assert not features.grad[1].any()
    assert float(reader.loss(features, ids[1:2], targets[1:2]).detach()) == 0.0


def test_weights_of_ones_change_nothing_and_zeros_leave_out() -> None:
    logits, targets = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    targets[0, 0] = IGNORE
    plain = token_loss(logits, targets)
    torch.testing.assert_close(token_loss(logits, targets, torch.ones(2, 5)), plain)
    first = torch.zeros(2, 5)
    first[1, 2] = 3.0
    torch.testing.assert_close(
        token_loss(logits, targets, first), token_loss(logits[1, 2:3], targets[1, 2:3])
    )


def test_an_embedding_that_did_not_change_is_written_as_it_was() -> None:
    before, _ = pack_int8({"wte.weight": torch.randn(300, 64), "norm.weight": torch.randn(64)})
    floats = dequantize_weight(before["wte.weight"], before["wte.weight_scale"])
    after, _ = pack_int8({"wte.weight": floats, "norm.weight": before["norm.weight"].float()})
    kept = keep_equal(after, before)
    assert kept == sum(tensor.nbytes for tensor in before.values())
    assert all(torch.equal(after[name], before[name]) for name in before)
    changed, _ = pack_int8({"wte.weight": floats + 0.1, "norm.weight": torch.zeros(64)})
    assert keep_equal(changed, before) == 0


def test_restored_weights_are_the_int8_values(tmp_path: Path) -> None:
    torch.manual_seed(0)
    write_data(tmp_path / "data")
    from recipes.joint import JointRun

    run = JointRun.of_size("tiny")
    model = JointModel(run.decoder.config, run.encoder)
    with torch.no_grad():
        model.projector.positions.mul_(0.1)  # as of a family whose places were never learned
    model.save(tmp_path / "float")
    options = {"data": tmp_path / "data", "size": "tiny", "device": "cpu"}
    run_recipe("export", RunOptions(init=tmp_path / "float", out=tmp_path / "family", **options))
    figures = run_recipe("restore", RunOptions(init=tmp_path / "family", out=tmp_path / "back", **options))
    assert figures["places_made_anew"]
    again = RunOptions(init=tmp_path / "back", out=tmp_path / "x", **options)
    other = JointModel(run.decoder.config, run.encoder)
    other.load_pretrained(again)
    stored = read_tensors(tmp_path / "family" / "decoder")
    name = "blocks.0.attn.c_attn.weight"
    wanted = dequantize_weight(stored[name], stored[f"{name}_scale"])
    torch.testing.assert_close(other.decoder.state_dict()[name], wanted)
    places = other.projector.positions - model.projector.positions
    torch.testing.assert_close(places, place_table(4, 64), atol=1e-3, rtol=0)
    run_recipe(
        "export",
        RunOptions(init=tmp_path / "back", out=tmp_path / "twice", like=tmp_path / "family", **options),
    )
    for path in sorted((tmp_path / "family" / "decoder").iterdir()):
        assert path.read_bytes() == (tmp_path / "twice" / "decoder" / path.name).read_bytes()


def test_dropout_is_for_training_only() -> None:
    decoder = make_decoder()
    ids = torch.randint(50, (1, 12))
    decoder.eval()
    plain = decoder(ids)
    for block in decoder.blocks:
        block.dropout.p = 0.5
    torch.testing.assert_close(decoder(ids), plain)
    decoder.train()
    assert not torch.allclose(decoder(ids), plain)
