"""The recogniser's recipes for a few steps on a CPU: it learns, goes on, is pruned, and becomes a member."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from localgpt.checkpoints import read_layout
from localgpt.checkpoints.family import tensors_under
from localgpt.errors import ConfigError
from localgpt.models.recognizer import Recognizer
from localgpt.nn.log_mel import LogMel
from localgpt.runtime.embedded_listener import read_knowledge
from localgpt.sampling.speech.hearing import Knowledge
from localgpt.sampling.speech.word_model import WordModel
from localgpt.sampling.speech.words import WordList
from recipes.common import RunOptions
from recipes.listener import ListenerRun, ListenerTraining, load_listener
from recipes.listener_augment import SoundAugmentation, hide_stripes, take
from recipes.listener_data import Bucket, SpeechBatch, SpeechPool
from recipes.listener_pruning import keep_units, prune_feed_forward
from recipes.listener_scores import edit_distance, unit_errors
from recipes.listener_tuning import tune_search
from recipes.registry import run_recipe
from recipes.speech_data.sound_sets import RATE, SoundSet
from tests import tiny_folder
from tests.recipes.tiny_speech import write_sound
from tests.tiny_listener import listener_tensors, make_recognizer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sound(tmp_path_factory.mktemp("speech"))


def options(data: Path, out: Path, *, steps: int = 10, init: Path | None = None) -> RunOptions:
    return RunOptions(data=data, out=out, steps=steps, size="tiny", init=init, device="cpu", seed=3)


def record_of(out: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((out / "record.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("listener")
    run_recipe("listener", options(data, out))
    return out


def test_it_learns_and_repeats(data: Path, trained: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["final"] for line in lines if "final" in line]
    assert losses[-1] < 0.7 * losses[0]
    record = record_of(trained)
    assert record["steps"] == 10 and 0.0 <= record["speechocean_en_dev_chunks"] <= 1.5  # type: ignore[operator]
    again = run_recipe("listener", options(data, tmp_path))
    assert again["final_loss"] == record["final_loss"]


def test_it_goes_on_where_it_ended(data: Path, trained: Path, tmp_path: Path) -> None:
    training = ListenerTraining(options(data, tmp_path), ListenerRun.of_size("tiny"))
    for _ in range(3):
        training.advance(0.5)
    training.save(0.4)
    other = ListenerTraining(options(data, tmp_path), ListenerRun.of_size("tiny"))
    assert other.resume() == 0.4 and other.step == 3
    for own, kept in zip(training.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(own, kept)
    for own, kept in zip(training.mean, other.mean, strict=True):
        assert torch.equal(own, kept)
    first = training.optimizer.state_dict()["state"][0]["exp_avg"]
    assert torch.equal(first, other.optimizer.state_dict()["state"][0]["exp_avg"])
    kept_mean = load_listener(tmp_path / "latest", "cpu")
    assert all(
        torch.equal(own, kept) for own, kept in zip(training.mean, kept_mean.parameters(), strict=True)
    )


def test_recorded_speech_alone(data: Path, tmp_path: Path) -> None:
    figures = run_recipe("listener_real", options(data, tmp_path, steps=2))
    assert set(figures["hours"]) == {"speechocean_en", "hsk_words_zh", "strings_zh", "keywords_zh_en"}


def test_pruning_leaves_out_what_counts_least(data: Path, trained: Path, tmp_path: Path) -> None:
    figures = run_recipe("listener_prune", options(data, tmp_path, steps=2, init=trained / "latest"))
    table = figures["table"]
    assert set(table) == {"before", "pruned", "after"}
    assert table["after"]["num_params"] == table["pruned"]["num_params"] < table["before"]["num_params"]
    pruned = load_listener(tmp_path / "latest", "cpu")
    assert pruned.config.n_ff == figures["n_ff"]
    with pytest.raises(ConfigError, match="--init"):
        run_recipe("listener_prune", options(data, tmp_path / "none"))


def test_units_that_do_nothing_go_without_a_trace() -> None:
    torch.manual_seed(0)
    network = Recognizer(replace(make_recognizer().config, n_ff=((64, 64), (64, 64)))).eval()
    silent = torch.arange(64) % 4 == 0
    for block in network.blocks:
        for layer in (block.ff_1, block.ff_2):  # type: ignore[union-attr]
            layer.proj.weight.data[:, silent] = 0.0  # type: ignore[union-attr]
    scores = [torch.where(silent, 0.0, 1.0 + torch.rand(64)) for _ in range(4)]
    assert [len(units) for units in keep_units(scores, 0.5)] == [32] * 4
    pruned = prune_feed_forward(network, [torch.cat([s[:32], s[32:]]) for s in scores], 0.99).eval()
    mel = torch.randn(1, 20, 40)
    assert torch.allclose(pruned(mel)[0], network(mel)[0], atol=1e-5)
    smaller = prune_feed_forward(network, scores, 0.5).eval()
    assert smaller.config.n_ff == ((32, 32), (32, 32)) and smaller(mel)[0].shape == network(mel)[0].shape


def test_it_becomes_a_member(data: Path, trained: Path, family_folder: Path, tmp_path: Path) -> None:
    tiny_folder.write_description(tmp_path, members=["decoder"])
    for member in ("decoder", "tokenizer.json"):
        (tmp_path / member).symlink_to(family_folder / member)
    figures = run_recipe("listener_export", options(data, tmp_path, init=trained / "latest"))
    layout = read_layout(tmp_path)
    assert list(layout.configs) == ["decoder", "listener"]
    knowledge = read_knowledge(layout)
    assert "cat" in knowledge.words.ids and "你好" in knowledge.words.ids
    errors = unit_errors(knowledge.network, SoundSet.load(data, "speechocean_en_dev"), num=100)
    assert figures["speechocean_en_dev_int8"] == pytest.approx(errors, abs=1e-4)
    assert len(figures["search"]["tried"]) == 8
    assert knowledge.options.lm_weight in (0.3, 0.4) and 0.02 <= knowledge.min_confidence <= 0.35
    card = (tmp_path / "listener" / "README.md").read_text(encoding="utf-8")
    assert "{" not in card and "?" not in card and f"{figures['num_params']:,}" in card


def test_the_search_is_tuned_to_what_was_said(data: Path) -> None:
    tensors, _ = listener_tensors()
    model = WordModel(tensors_under("model.", tensors))
    words = WordList.from_tensors(tensors_under("words.", tensors), model.unigrams)
    knowledge = Knowledge(network=make_recognizer(), words=words, model=model)
    sets = {name: SoundSet.load(data, f"{name}_dev") for name in ("speechocean_en", "hsk_words_zh")}
    tuned, tried = tune_search(knowledge, sets, num=2)
    assert min(tried.values()) == 0.0 and tuned.network is knowledge.network
    assert tuned.min_confidence == 0.35  # tones are heard surely
    chosen = tuned.options
    assert tried[f"{chosen.lm_weight} {chosen.word_bonus} {chosen.chinese_bonus}"] == 0.0


def test_batches_have_the_shapes_of_their_buckets(data: Path) -> None:
    buckets = (Bucket(seconds=1.0, size=3), Bucket(seconds=2.0, size=2))
    pool = SpeechPool(data, {"speechocean_en": 1.0, "hsk_words_zh": 1.0}, buckets, "cpu")
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        batch = pool.draw(rng)
        bucket = buckets[batch.bucket]
        seen.add(batch.bucket)
        assert take(pool.samples, batch, bucket.num_samples).shape == (bucket.size, bucket.num_samples)
        assert batch.targets.shape == (bucket.size, bucket.num_frames // 2)
        assert (batch.num_frames <= bucket.num_frames).all()
        assert (batch.num_frames >= 2 * batch.target_lengths).all()  # room for the loss
        assert ((batch.targets > 0).sum(dim=1) == batch.target_lengths).all()
    assert seen == {0, 1}
    only = pool.reweighted({"hsk_words_zh": 1.0})
    assert only.samples is pool.samples
    assert all((only.draw(rng).target_lengths == 4).all() for _ in range(5))
    with pytest.raises(ConfigError, match="none of"):
        pool.reweighted({"philipp_en": 1.0})
    with pytest.raises(ConfigError, match="no packed speech"):
        SpeechPool(data / "nothing", {"hsk_words_zh": 1.0}, buckets, "cpu")


def test_speed_changes_length_and_pitch() -> None:
    times = torch.arange(RATE) / RATE
    samples = (20_000 * torch.sin(2 * torch.pi * 1000 * times)).to(torch.int16)
    batch = SpeechBatch(
        bucket=0, begins=torch.zeros(2, dtype=torch.int64), lengths=torch.tensor([RATE, RATE]),
        speeds=torch.tensor([1.0, 2.0]), num_frames=torch.tensor([50, 25]),
        targets=torch.zeros(2, 1, dtype=torch.int64), target_lengths=torch.tensor([0, 0]),
    )  # fmt: skip
    same, fast = take(samples, batch, RATE)
    assert torch.allclose(same[:-2], samples[:-2] / 32768.0, atol=1e-4)
    assert not fast[RATE // 2 :].any() and fast[: RATE // 2 - 2].abs().max() > 0.5
    spectrum = torch.fft.rfft(fast[: RATE // 2 - 2], RATE // 2).abs()
    assert int(spectrum.argmax()) * 2 == pytest.approx(2000, abs=10)


def test_augmentation_is_repeatable_and_silences_rows() -> None:
    waveform = torch.randn(4, RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    noises = torch.randint(-3000, 3000, (3 * RATE,), generator=torch.Generator().manual_seed(1))
    told = torch.tensor([False, True, False, False])
    how = SoundAugmentation(room=1.0, rival=0.0)

    def changed(seed: int, rows: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return how.apply(rows, noises.to(torch.int16), told, generator)

    first = changed(5, waveform)
    assert torch.equal(first, changed(5, waveform)) and not torch.equal(first, changed(6, waveform))
    assert first.abs().max() <= 1.0 and torch.isfinite(first).all()
    levels = 20 * first.square().mean(dim=1).sqrt().log10()
    assert ((levels > -43) & (levels < -10)).all()
    # A silenced row keeps nothing of its speech, but its loudness.
    swapped = waveform.clone()
    swapped[1] = swapped[1].flip(0)
    assert torch.allclose(changed(5, swapped)[1], first[1], atol=1e-5)


def test_augmentation_grows_from_nothing() -> None:
    full = SoundAugmentation()
    assert full.at(1.0) == full
    generator = torch.Generator().manual_seed(0)
    waveform = 0.1 * torch.randn(8, 4000, generator=generator)
    unchanged = full.at(0.0).apply(waveform, torch.zeros(0), torch.zeros(8, dtype=torch.bool), generator)
    likeness = torch.nn.functional.cosine_similarity(unchanged, waveform)
    assert likeness.min() > 0.95
    assert len({round(float(row.std()), 3) for row in unchanged}) > 1  # of other levels


def test_changes_grow_after_the_easy_steps(data: Path, tmp_path: Path) -> None:
    run = replace(ListenerRun.of_size("tiny"), easy_steps=2, growth=0.5, easy_share=0.5)
    training = ListenerTraining(options(data, tmp_path), run)
    strengths = []
    for progress in (0.0, 0.1, 0.2, 0.45, 0.7, 0.9):
        training.advance(progress)
        strengths.append(round(training.strength_at(progress), 3))
    assert strengths == [0.0, 0.0, 0.0, 0.5, 1.0, 1.0]
    again = [training._is_easy_again() for _ in range(200)]
    assert 60 < sum(again) < 140
    straight = ListenerTraining(options(data, tmp_path), replace(run, easy_steps=0))
    assert straight.strength_at(0.0) == 1.0 and not straight._is_easy_again()


def test_stripes_hide_bins_and_frames() -> None:
    mel = LogMel(20)(torch.randn(3, RATE))
    hidden = hide_stripes(mel, torch.Generator().manual_seed(0), fill=-99.0)
    is_hidden = hidden == -99.0
    assert 0.0 < float(is_hidden.float().mean()) < 0.8
    assert torch.equal(hidden[~is_hidden], mel[~is_hidden])


def test_edit_distance() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "ab") == 2 == edit_distance("ab", "") and edit_distance("ab", "ab") == 0
