"""Every fast path against the plain one: cached, chunked, batched, ragged, quantized, packed."""

from __future__ import annotations

import pytest
import torch

from localgpt.models.decoder import Decoder, DecoderConfig
from localgpt.models.encoder import EncoderConfig, JointEncoder
from localgpt.models.projector import Projector, ProjectorConfig
from localgpt.nn.flex import PackedLayout, packed_bias
from localgpt.nn.linear import fbgemm_available, quantize_

TINY = DecoderConfig(vocab_size=97, n_layer=3, n_embd=32, n_head=4, context_len=64)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(0)
    model = Decoder(TINY).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def _ids(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(97, (length,), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_cached_decoding_equals_the_full_forward(decoder: Decoder) -> None:
    ids = _ids(20)
    full = decoder(ids[None])[0]
    cache = decoder.new_cache(2)
    logits = decoder.prefill(decoder.embed(ids[:7]), None, cache, slot=1, start=0)
    assert torch.allclose(logits, full[6], atol=1e-4)
    for position in range(7, 20):
        step = decoder.decode_step(
            ids[position : position + 1], cache, torch.tensor([1]), torch.tensor([position])
        )
        assert torch.allclose(step[0], full[position], atol=1e-4)


@torch.inference_mode()
def test_prefill_in_pieces_equals_prefill_at_once(decoder: Decoder) -> None:
    x, modality = decoder.embed(_ids(12)), torch.tensor([0] * 3 + [1] * 5 + [0] * 4)
    cache = decoder.new_cache(2)
    whole = decoder.prefill(x, modality, cache, slot=0, start=0)
    decoder.prefill(x[:5], modality[:5], cache, slot=1, start=0)
    pieces = decoder.prefill(x[5:], modality[5:], cache, slot=1, start=5)
    assert torch.allclose(whole, pieces, atol=1e-4)


@torch.inference_mode()
def test_ragged_batch_equals_single_sequences(decoder: Decoder) -> None:
    lengths, slots = [3, 11, 6], [2, 0, 1]
    cache, alone = decoder.new_cache(3), []
    for seed, (length, slot) in enumerate(zip(lengths, slots, strict=True)):
        decoder.prefill(decoder.embed(_ids(length, seed)), None, cache, slot=slot, start=0)
        alone.append(decoder(torch.cat([_ids(length, seed), torch.tensor([5])])[None])[0, -1])
    batch = decoder.decode_step(torch.tensor([5, 5, 5]), cache, torch.tensor(slots), torch.tensor(lengths))
    assert torch.allclose(batch, torch.stack(alone), atol=1e-4)


@torch.inference_mode()
def test_padding_a_batch_changes_nothing_before_the_padding(decoder: Decoder) -> None:
    short, long = _ids(5), _ids(9, 1)
    padded = torch.stack([torch.cat([short, torch.zeros(4, dtype=torch.int64)]), long])
    assert torch.allclose(decoder(padded)[0, :5], decoder(short[None])[0], atol=1e-5)


@pytest.mark.parametrize("kernel", ["plain", "fbgemm"])
@torch.inference_mode()
def test_int8_drift_is_bounded(kernel: str) -> None:
    if kernel == "fbgemm" and not fbgemm_available():
        pytest.skip("this CPU has no VNNI, so the fbgemm kernel is not used")
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(vocab_size=97, n_layer=3, n_embd=128, n_head=4)).eval()
    ids = _ids(24)[None]
    reference = model(ids)
    quantize_(model, kernel=kernel)
    drift = (model(ids) - reference).norm() / reference.norm()
    assert 0 < drift < 0.05


@torch.inference_mode()
def test_both_int8_kernels_agree() -> None:
    if not fbgemm_available():
        pytest.skip("this CPU has no VNNI, so the fbgemm kernel is not used")
    outputs = []
    for kernel in ("plain", "fbgemm"):
        torch.manual_seed(0)
        model = Decoder(TINY).eval()
        quantize_(model, kernel=kernel)
        outputs.append(model(_ids(24)[None]))
    # They may round an activation half a step apart, never more.
    assert (outputs[0] - outputs[1]).norm() / outputs[0].norm() < 0.01


def test_branches_share_the_prefix_and_do_not_see_each_other(decoder: Decoder) -> None:
    """A packed row of one prefix and two branches gives what two separate sequences give."""
    prefix, first, second = _ids(6, 1), _ids(4, 2), _ids(5, 3)
    row = torch.cat([prefix, first, second])[None]
    layout = PackedLayout(
        torch.zeros_like(row, dtype=torch.int32),
        torch.tensor([[0] * 6 + [1] * 4 + [2] * 5], dtype=torch.int32),
        torch.tensor([[*range(6), *range(6, 10), *range(6, 11)]], dtype=torch.int32),
    )
    bias = packed_bias(decoder.alibi, layout)

    def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    with torch.inference_mode():
        packed = decoder.hidden(decoder.embed(row), attend=attend)[0]
        alone_1 = decoder.hidden(decoder.embed(torch.cat([prefix, first])[None]))[0]
        alone_2 = decoder.hidden(decoder.embed(torch.cat([prefix, second])[None]))[0]
    assert torch.allclose(packed[:10], alone_1, atol=1e-4)
    assert torch.allclose(packed[10:], alone_2[6:], atol=1e-4)


def test_block_masks_hold_all_that_may_be_seen_and_full_blocks_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    starts = torch.rand(3, 128, generator=generator) < 0.04
    documents = starts.cumsum(dim=1).to(torch.int32)
    branches = torch.randint(-1, 3, (3, 8), generator=generator).repeat_interleave(16, dim=1).to(torch.int32)
    branches[0] = 0  # one row of plain documents
    positions = torch.arange(128, dtype=torch.int32).expand(3, -1)
    layout = PackedLayout(documents, branches, positions)
    mask = layout.block_mask(block_size=8)
    allowed = (
        torch.isfinite(packed_bias(torch.ones(1), layout)[:, 0]).unflatten(1, (-1, 8)).unflatten(3, (-1, 8))
    )
    any_allowed, all_allowed = allowed.any(dim=(2, 4)), allowed.all(dim=(2, 4))
    partial = _dense(mask.kv_num_blocks, mask.kv_indices)
    assert mask.full_kv_num_blocks is not None
    assert mask.full_kv_indices is not None
    full = _dense(mask.full_kv_num_blocks, mask.full_kv_indices)
    assert not (any_allowed & ~(partial | full)).any()
    assert not (full & ~all_allowed).any()
    assert not (full & partial).any()
    assert full.any()


def _dense(counts: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """(B, 1, q) counts and (B, 1, q, kv) lists to (B, q, kv) bool."""
    is_listed = torch.arange(indices.shape[-1]) < counts[..., None]
    out = torch.zeros(indices.shape, dtype=torch.bool)
    return out.scatter(-1, indices.long(), is_listed)[:, 0]


@pytest.fixture(scope="module")
def encoder() -> JointEncoder:
    torch.manual_seed(0)
    config = EncoderConfig(
        image_size=64, stage_blocks=(1, 1, 1, 1), stem_width=16, embed_dim=32, n_pool_head=2, vocab_size=97,
        n_token_embd=16, n_text_embd=32, n_text_layer=2, n_text_head=2,
    )  # fmt: skip
    return JointEncoder(config).eval()


@torch.inference_mode()
def test_encoder_shapes_and_unit_length(encoder: JointEncoder) -> None:
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features, vectors = encoder.read_image(pixels)
    assert features.shape == (2, 16, encoder.config.n_feature)
    assert torch.equal(vectors, encoder.encode_image(pixels))
    assert torch.allclose(encoder.encode_image(pixels).norm(dim=-1), torch.ones(2), atol=1e-5)


@torch.inference_mode()
def test_padding_does_not_change_a_text_vector(encoder: JointEncoder) -> None:
    ids = _ids(5)
    padded = torch.cat([ids, torch.full((3,), 7)])
    alone = encoder.encode_text(ids[None], torch.tensor([5]))
    assert torch.allclose(alone, encoder.encode_text(padded[None], torch.tensor([5])), atol=1e-5)


@torch.inference_mode()
def test_projector_drops_the_lowest_scored_tokens_and_keeps_grid_order() -> None:
    torch.manual_seed(0)
    projector = Projector(ProjectorConfig(n_feature=24, n_embd=16, n_image_token=16))
    torch.nn.init.normal_(projector.keep_score.weight)
    features = torch.randn(2, 16, 24)
    every, some = projector(features), projector(features, keep=0.5)
    assert some.shape == (2, 8, 16)
    scores = projector.keep_score(projector.norm(features))[..., 0]
    for row in range(2):
        kept = sorted(scores[row].topk(8).indices.tolist())
        assert torch.equal(some[row], every[row, kept])


def test_gradients_reach_every_parameter(encoder: JointEncoder) -> None:
    torch.manual_seed(0)
    decoder = Decoder(TINY)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    modality = torch.tensor([[0, 1, 2, 0, 1, 2]])
    decoder(_ids(6)[None], modality=modality).square().mean().backward()
    missing = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
