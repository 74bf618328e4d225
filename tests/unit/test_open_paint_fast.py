"""Each switch that makes painting faster, against the plain path: the same picture, or told what differs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils import _pytree as pytree

from localgpt.runtime.open import paint_batch
from localgpt.runtime.open.base import OpenCheckpoint, kind_of
from localgpt.runtime.open.paint import Painter
from localgpt.runtime.open.paint_fast import FastPaint, FastSwitches, switches_of
from localgpt.runtime.open.paint_graphs import GraphedForward
from localgpt.runtime.open.paint_pipelines import LoadedPainter, load_painter, painter_of
from localgpt.runtime.open.paint_plans import is_upcast
from localgpt.tasks import ImagePart, PaintRequest, PaintResult
from tests.tiny_media import PAINTERS, write_painter

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("fast")

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else write_painter(name, root / name)

    return folder


def replayed(run: Callable[[], Any]) -> tuple[Callable[[], None], Any, int]:
    """As a graph is captured and replayed, into memory of its own."""
    out = run()

    def replay() -> None:
        again = run()
        for own, new in zip(pytree.tree_leaves(out), pytree.tree_leaves(again), strict=True):
            if isinstance(own, torch.Tensor):
                own.copy_(new)

    return replay, out, 0


def painter(folder: Path, **switches: Any) -> Painter:
    checkpoint = OpenCheckpoint(folder=folder, id="maker/painter", kind=kind_of(folder), fast="off")
    plain = load_painter(checkpoint)
    if not switches:
        return Painter(checkpoint, plain)
    made = painter_of(checkpoint, plain.from_text, switches=FastSwitches())
    siblings = (made.from_text, made.from_image, made.into_mask)
    fast = FastPaint(
        siblings, made.denoiser, FastSwitches(**switches), "cpu", capture=replayed, compile=lambda f, **_: f
    )
    loaded = LoadedPainter(
        from_text=made.from_text,
        from_image=made.from_image,
        into_mask=made.into_mask,
        denoiser=made.denoiser,
        defaults=made.defaults,
        dtype=made.dtype,
        fast=fast,
        notices=fast.notices,
    )
    return Painter(checkpoint, loaded)


def paint(model: Painter, **values: Any) -> NDArray[np.int16]:
    sizes = {} if "image" in values else {"width": 64, "height": 64}
    given = {"id": "1", "prompt": "a red cat", "num_steps": 4, "seed": 5, **sizes, **values}
    request = PaintRequest(**given)
    with torch.inference_mode():
        result = model.answer(request, lambda event: None, lambda: False, model.sizes(request)[0])
    assert isinstance(result, PaintResult)
    return np.stack([np.asarray(Image.open(io.BytesIO(one.data))) for one in result.images]).astype(np.int16)


def picture() -> ImagePart:
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(sink, "PNG")
    return ImagePart(data=sink.getvalue())


@pytest.mark.parametrize(
    "switches",
    [
        {"channels_last": True, "fused_projections": True, "remembers_texts": True},
        {"graphs": True, "rests_encoders": True, "remembers_texts": True, "compiled": True},
    ],
    ids=["layers", "graphs"],
)
@pytest.mark.parametrize("name", PAINTERS)
def test_exact_switches_keep_the_picture(folders: Folders, name: str, switches: dict[str, Any]) -> None:
    plain, fast = painter(folders(name)), painter(folders(name), **switches)
    before = fast.status().weight_bytes
    assert before == plain.status().weight_bytes  # parts that were fused are gone
    rests = "rests_encoders" in switches
    assert ("text_encoder" in fast.modules) != rests and "text_encoder" in plain.modules
    for values in (
        {},
        {"num_images": 2},
        {"prompt": "a blue dog"},
        {},
        {"image": picture(), "strength": 0.8},
    ):
        assert np.abs(paint(fast, **values) - paint(plain, **values)).max() <= 1
    assert fast.notices == () and (fast.cache_bytes > 0)
    fast.drop_caches()
    assert fast.cache_bytes == 0
    assert np.abs(paint(fast) - paint(plain)).max() <= 1


def test_a_repeated_prompt_is_read_once_an_owner(folders: Folders) -> None:
    resting = painter(folders("sdxl"), rests_encoders=True)
    paint(resting)
    assert resting.cache_bytes == 0, "nothing said that words may be remembered"
    fast = painter(folders("sdxl"), remembers_texts=True)
    encoder = fast._loaded.from_text.text_encoder
    calls = []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    paint(fast)
    num = len(calls)
    assert np.array_equal(paint(fast), paint(fast, owner="local")) and len(calls) == num
    paint(fast, owner="another")
    assert len(calls) == 2 * num
    paint(fast, prompt="a dog")
    assert len(calls) == 3 * num


def test_graphs_are_made_once_a_shape_and_anew_when_weights_moved(folders: Folders) -> None:
    fast = painter(folders("sdxl"), graphs=True)
    graphs = fast._loaded.fast._graphs
    assert graphs is not None
    expected = paint(fast)
    paint(fast, prompt="a dog")
    assert graphs.num_graphs == 1
    paint(fast, num_images=2)
    assert graphs.num_graphs == 2
    for parameter in fast._loaded.denoiser.parameters():
        parameter.data = parameter.data.clone()
    assert np.array_equal(paint(fast), expected) and graphs.num_graphs == 1


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd3"])
@pytest.mark.parametrize("graphs", [False, True])
def test_the_last_steps_may_be_without_guidance(folders: Folders, name: str, graphs: bool) -> None:
    fast = painter(folders(name), guided_part=0.5, graphs=graphs)
    rows: list[int] = []
    plain = paint(painter(folders(name)))
    denoiser, forward = fast._loaded.denoiser, fast._loaded.denoiser.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        rows.append(len(args[0] if args else kwargs["hidden_states"]))
        return forward(*args, **kwargs)

    denoiser.forward = watched
    found = paint(fast)
    num = len(rows)  # one scheduler makes a step more
    assert rows[:2] == [2, 2] and rows[-1] == 1 and rows == sorted(rows, reverse=True)
    assert not np.array_equal(found, plain)
    paint(fast, image=picture())
    assert set(rows[num:]) == ({2} if name == "sd3" else {1, 2})  # whose pipeline from a picture cannot
    assert fast.notices == ("for speed: steps after 50% are made without guidance",)


@pytest.mark.parametrize("graphs", [False, True])
def test_inner_blocks_come_from_the_step_before(folders: Folders, graphs: bool) -> None:
    fast = painter(folders("sdxl"), full_every=2, graphs=graphs)
    calls: list[int] = []
    fast._loaded.denoiser.mid_block.resnets[0].register_forward_hook(lambda *_: calls.append(1))
    found = paint(fast)
    if not graphs:  # a replayed graph of this test runs twice what it captured
        assert len(calls) == 2  # of four steps
    plain = paint(painter(folders("sdxl")))
    assert not np.array_equal(found, plain)
    assert np.array_equal(paint(fast), found)
    every = painter(folders("sdxl"), full_every=2)
    assert np.array_equal(paint(every), found)
    every._loaded.fast._steps._every = 1  # type: ignore[union-attr]
    assert np.array_equal(paint(every), plain)


def test_a_transformer_leaves_blocks_out(folders: Folders) -> None:
    fast = painter(folders("flux"), full_every=2, graphs=True)
    assert fast.notices == ("for speed: blocks are left out on steps that change little",)
    assert fast._loaded.fast._graphs is None  # it looks at numbers between blocks
    assert np.array_equal(paint(fast), paint(fast))


def test_levels() -> None:
    assert switches_of("auto", "cuda:0") == switches_of("off", "cuda:0") == FastSwitches()
    exact = switches_of("exact", "cuda:0")
    assert exact.graphs and not exact.compiled and exact.guided_part == 1.0 and exact.full_every == 1
    assert not switches_of("exact", "cpu").graphs and switches_of("compiled", "cpu").compiled
    assert switches_of("max", "cuda:0").half_autoencoder


def test_what_cannot_be_captured_runs_as_it_is(folders: Folders) -> None:
    fast, plain = painter(folders("sdxl"), graphs=True), painter(folders("sdxl"))
    graphs = fast._loaded.fast._graphs
    assert graphs is not None

    def fails(run: Callable[[], Any]) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    graphs._capture = fails
    for _ in range(2):
        assert np.array_equal(paint(fast), paint(plain))
    told = "denoising runs one kernel at a time: operation not permitted when stream is capturing"
    assert fast.notices == (told,) and graphs.num_graphs == 0


def test_results_of_a_graph_are_not_overwritten() -> None:
    graphed = GraphedForward(lambda x, scale: (x * scale,), torch.device("cpu"), capture=replayed)
    first = graphed(False, torch.ones(2), scale=3)[0]
    second = graphed(False, torch.full((2,), 2.0), scale=3)[0]
    assert first.tolist() == [3, 3] and second.tolist() == [6, 6] and graphed.num_graphs == 1
    assert graphed(False, torch.ones(2), scale=4)[0].tolist() == [4, 4] and graphed.num_graphs == 2


def test_where_memory_is_too_short_graphs_are_given_up_and_told(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, fast = painter(folders("sd15")), painter(folders("sd15"), graphs=True)
    decode, graphs = paint_batch.decode_latents, fast._loaded.fast._graphs
    assert graphs is not None

    def short(*args: Any) -> Any:
        if graphs.num_graphs:
            raise torch.OutOfMemoryError("no memory beside graphs")
        return decode(*args)

    monkeypatch.setattr(paint_batch, "decode_latents", short)
    assert np.abs(paint(fast) - paint(plain)).max() <= 1
    assert fast.notices[-1].endswith(
        "one kernel at a time: there was too little memory to paint beside graphs"
    )
    monkeypatch.setattr(paint_batch, "decode_latents", decode_fails)
    with pytest.raises(torch.OutOfMemoryError):  # there is nothing more to give up
        paint(fast)


def decode_fails(*args: Any) -> Any:
    raise torch.OutOfMemoryError("no memory at all")


def test_only_the_autoencoder_of_sdxl_decodes_in_float32(folders: Folders) -> None:
    shapes = {name: painter(folders(name))._loaded.from_text for name in ("sd15", "sdxl")}
    assert all(one.vae.config.force_upcast for one in shapes.values())  # diffusers' default, too
    assert {name: is_upcast(one) for name, one in shapes.items()} == {"sd15": False, "sdxl": True}
