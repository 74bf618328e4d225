"""What the commands answer: text, JSON, and where each goes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localgpt import __version__
from localgpt.cli import conversation as talking
from localgpt.cli.conversation import picture_in
from localgpt.cli.inputs import read_picture
from localgpt.cli.options import settings_of
from localgpt.errors import PromptTooLongError
from localgpt.runtime.drafting import NUM_DRAFTS
from localgpt.tasks import ChatRequest, ImagePart, Message, SamplingOptions
from tests.cli.conftest import Run
from tests.tiny import make_photo

SHORT = ("--max-tokens", "4", "--temperature", "0")


def test_help_and_version(run: Run) -> None:
    assert run("--version").out == f"localgpt {__version__}\n"
    for arguments in ((), ("--help",), ("bench",), ("chat", "-h"), ("models", "export", "--help")):
        outcome = run(*arguments)
        assert outcome.status == 0 and outcome.out.startswith("Usage: localgpt") and not outcome.err
        assert "─" not in outcome.out  # no boxes


def test_chat_answers_once(run: Run) -> None:
    outcome = run("chat", "Who are you?", *SHORT)
    assert outcome.status == 0 and outcome.out.endswith("\n") and not outcome.err
    answer = run("chat", "Who are you?", *SHORT, "--json")
    assert answer.json == {"generated_text": outcome.out[:-1]}
    assert run("chat", "-", *SHORT, "--json", stdin=b"Who are you?").json == answer.json
    assert run("chat", "Who are you?", *SHORT, "--json", "--system", "Be brief.").json != answer.json


def test_the_same_seed_gives_the_same_answer(run: Run) -> None:
    answers = [
        run("chat", "hi", "--seed", seed, "--max-tokens", "8", "--json").out for seed in ("1", "1", "2")
    ]
    assert answers[0] == answers[1] != answers[2]


def test_use_cache_keeps_answers_for_the_next_command(run: Run, photo: str, tmp_path: Path) -> None:
    commands = (
        ("describe", photo),
        ("ask", photo, "What is this?"),
        ("chat", "Who are you?", "--temperature", "0", "--max-tokens", "8"),
    )
    plain = [run(*command).out for command in commands]
    assert not (tmp_path / "home" / "answers").exists()
    for _ in range(2):
        assert [run(*command, "--use_cache").out for command in commands] == plain
    assert len(list((tmp_path / "home" / "answers").iterdir())) == NUM_DRAFTS + 2  # a description's drafts


def test_chat_stops_before_a_stop_text(run: Run) -> None:
    whole = run("chat", "hi", *SHORT, "--json").json["generated_text"]
    cut = run("chat", "hi", *SHORT, "--json", "--stop", whole[5:9]).json["generated_text"]
    assert whole.startswith(cut) and len(cut) < len(whole)


def test_underscores_and_the_other_name_of_a_limit(run: Run, photo: str) -> None:
    expected = run("describe", photo, "--max-length", "3", "--json").json
    assert run("describe", photo, "--max_length=3", "--json").json == expected
    assert run("describe", photo, "--max_tokens", "3", "--json").json == expected


def test_describe_one_picture_and_several(run: Run, photo: str, tmp_path: Path) -> None:
    one = run("describe", photo, "--max-length", "3", "--json").json
    assert one.keys() == {"generated_text"}
    several = run("describe", photo, photo, "--max-length", "3", "--json").json
    assert several == [{"image": photo, **one}] * 2
    text = one["generated_text"]
    assert run("describe", photo, "--max-length", "3").out == f"{text}\n"
    assert run("describe", photo, photo, "--max-length", "3").out == f"{photo}: {text}\n" * 2
    zh = run("describe", photo, "--language", "zh", "--max-length", "3", "--json")
    assert zh.status == 0 and zh.json != one
    stdin = (tmp_path / photo).read_bytes()
    assert run("describe", "-", "--max-length", "3", "--json", stdin=stdin).json == one


def test_ask_and_chat_about_a_picture(run: Run, photo: str) -> None:
    assert run("ask", photo, "What is this?", "--max-length", "3", "--json").json["generated_text"]
    seen = run("chat", "What is this?", "--image", photo, *SHORT, "--json").json
    assert seen != run("chat", "What is this?", *SHORT, "--json").json


def test_embed_texts_then_pictures(run: Run, photo: str) -> None:
    vectors = run("embed", "a dog", "--image", photo, "--json").json["embeddings"]
    assert [round(sum(x * x for x in vector), 4) for vector in vectors] == [1.0, 1.0]
    lines = run("embed", "a dog", "--image", photo).out.splitlines()
    assert [float(x) for x in lines[1].split()] == pytest.approx(vectors[1], abs=1e-6)


def test_models_lists_and_exports(run: Run, photo: str, family_folder: Path) -> None:
    (model,) = run("models", "--json").json["models"]
    assert model["id"] == "local/tiny" and model["path"] == str(family_folder)
    assert model["licence"] == "Apache-2.0" and model["licence_note"] is None
    assert model["context"] == 128 and model["parameters"] == sum(m["parameters"] for m in model["members"])
    assert "local/tiny" in run("models").out
    exported = run("models", "export", "model.bin", "--json").json
    assert exported == {"path": "model.bin", "bytes": Path("model.bin").stat().st_size}
    answer = run("ask", photo, "What?", "--max-length", "3", "--json")
    assert run("ask", photo, "What?", "--max-length", "3", "--json", "--model", "model.bin").out == answer.out


def test_non_commercial_weights_say_so(run: Run, family_folder: Path, tmp_path: Path) -> None:
    import shutil

    from tests.tiny_folder import write_description

    copy = Path(shutil.copytree(family_folder, tmp_path / "nc"))
    write_description(copy, licence="CC BY-NC-SA 4.0")
    (model,) = run("models", "--json", "--model", "nc").json["models"]
    assert "non-commercial" in model["licence_note"]
    assert "non-commercial" in run("models", "--model", "nc").out


def test_doctor_runs_a_kernel_on_each_device(run: Run, tmp_path: Path) -> None:
    report = run("doctor", "--json", "--data-dir", "state").json
    assert "cpu" in [device["device"] for device in report["devices"]]
    assert all(device["works"] and device["time_ms"] > 0 for device in report["devices"])
    kinds = {device["device"].partition(":")[0] for device in report["devices"]}
    assert kinds | report["missing"].keys() == {"cuda", "rocm", "mps", "cpu", "opencl"}
    assert not kinds & report["missing"].keys() and all(report["missing"].values())
    assert report["int8"]["works"]
    decoder = report["decoder"]
    assert decoder["works"] or decoder["missing"]
    assert decoder["setting"] == "auto" and not decoder["detail"]
    assert report["weights"]["found"] and report["data_folder"] == "state"
    assert not (tmp_path / "state").exists()  # looks, changes nothing
    text = run("doctor").out
    assert "\ndecoding     " in text and "int8 kernel" in text and "rocm         none: this torch" in text
    lost = run("doctor", "--json", "--model", "nowhere").json
    assert not lost["weights"]["found"] and any("nowhere" in problem for problem in lost["problems"])


def test_notices_go_to_standard_error(run: Run, photo: str) -> None:
    outcome = run("describe", photo, "--device", "cuda:63", "--fp16", "--max-length", "2", "--json")
    assert outcome.status == 0 and outcome.json.keys() == {"generated_text"}
    assert "cuda:63 is not here" in outcome.err and "int8" in outcome.err and outcome.err.count("\n") == 2


def test_a_conversation_from_a_pipe(run: Run, photo: str) -> None:
    lines = f"Who are you?\n\n{photo} What is this?\n/new\nWho are you?\n/quit\nnever asked\n"
    outcome = run("chat", *SHORT, "--json", stdin=lines.encode())
    answers = [json.loads(line)["generated_text"] for line in outcome.out.splitlines()]
    assert outcome.status == 0 and len(answers) == 3
    assert answers[0] == answers[2]  # forgotten in between
    assert "a new conversation" in outcome.err


def test_a_conversation_remembers(run: Run) -> None:
    first, second = run("chat", *SHORT, "--json", stdin=b"hi\nhi\n").out.splitlines()
    assert first != second


def test_a_conversation_at_a_terminal_goes_on_after_a_mistake(
    run: Run, photo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["/help", "/image", "/image nofile.png", "/nonsense", f"/image {photo}", "What is this?"])

    def read_line(at_terminal: bool) -> str | None:
        return next(lines, None)

    monkeypatch.setattr(talking, "_read_line", read_line)
    monkeypatch.setattr(talking, "_sits_at_terminal", lambda: True)
    outcome = run("chat", *SHORT)
    assert outcome.status == 0 and outcome.out.strip()
    for told in (
        "/image FILE",
        "needs a file",
        "cannot read the picture nofile.png",
        "/nonsense is not known",
    ):
        assert told in outcome.err
    assert "photo.jpg goes with what you say next" in outcome.err


def test_pasted_picture_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my photo.JPG"
    path.write_bytes(b"x")
    for pasted in (f"'{path}'", f'"{path}"', str(path), str(path).replace(" ", "\\ "), f"file://{path}"):
        assert picture_in(pasted) == (path, "")
    assert picture_in(f"file://{path}".replace(" ", "%20")) == (path, "")
    assert picture_in(f"'{path}' what is this?") == (path, "what is this?")
    for words in ("what is a photo.jpg", "it's", "/help", "", "x" * 5000, "notes.txt", str(tmp_path)):
        assert picture_in(words) is None
    assert read_picture(path) == ImagePart(data=b"x")


def test_train_hands_its_options_to_a_recipe(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from recipes import registry

    seen: list[Any] = []

    def recipe(options: Any) -> dict[str, Any]:
        seen.append(options)
        return {"loss": 0.5, "steps": options.steps}

    monkeypatch.setitem(registry.RECIPES, "decoder", recipe)
    arguments = ("train", "decoder", "--data", ".", "--out", "out", "--steps", "3", "--size", "tiny")
    assert run(*arguments, "--seed", "7", "--json").json == {"loss": 0.5, "steps": 3}
    assert (seen[0].out, seen[0].seed, seen[0].size, seen[0].device) == (Path("out"), 7, "tiny", "cpu")
    assert run(*arguments).out == "loss: 0.5\nsteps: 3\n"


def test_the_benchmark_compares_three(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real sides at the tiny shape; what they print is checked, not how fast they are."""
    sizes = ("--tokens", "3", "--prompt-tokens", "2", "--rounds", "1", "--threads", "1")
    report = run("bench", "decode", *sizes, "--json").json
    assert {"ratio", "load_average", "threads", "torch"} <= report.keys()
    assert all(report[side] > 0 for side in ("ours_int8", "ours_fp32", "fp32_eager"))
    assert report["weights"] == "local/tiny" and report["tokens"] == 3


def test_zero_is_a_value_and_not_an_option_left_out() -> None:
    assert settings_of(port=0).port == 0
    assert settings_of(port=None, use_cache=False, api_keys=[]).port == 8000


def test_a_picture_waits_when_the_words_beside_it_are_refused() -> None:
    picture = ImagePart(data=make_photo())
    conversation = talking.Conversation(SamplingOptions())
    seen: list[Message] = []

    class Refusing:
        """A session that refuses the first turn and takes the next."""

        def answer(self, request: ChatRequest, **_: Any) -> Any:
            seen.append(request.messages[-1])
            if len(seen) == 1:
                raise PromptTooLongError("too long", param="messages")
            return SimpleNamespace(text="A square.")

    conversation.attach(picture, source="photo.png")
    with pytest.raises(PromptTooLongError):
        conversation.say(Refusing(), "far too much")  # type: ignore[arg-type]
    assert conversation.say(Refusing(), "What is this?") == "A square."  # type: ignore[arg-type]
    assert [picture in message.content for message in seen] == [True, True]
