"""`localgpt chat [PROMPT]`: one answer, or a conversation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from localgpt.cli.console import print_json, write_text
from localgpt.cli.conversation import Conversation, talk
from localgpt.cli.inputs import read_picture, read_text
from localgpt.cli.options import (
    DataDirOption,
    DeviceOption,
    Fp16Option,
    JsonOption,
    ModelOption,
    QuantizeOption,
    UseCacheOption,
    settings_of,
)
from localgpt.cli.session import Session
from localgpt.tasks import SamplingOptions

__all__ = ["chat"]

_DEFAULTS = SamplingOptions()


def chat(
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT",
            help="What to say; - reads it from standard input. Without it a conversation begins, "
            "which Ctrl-D ends.",
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--image", metavar="FILE", help="A picture to talk about; may be repeated."),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="How LocalGPT should behave.")
    ] = None,
    temperature: Annotated[
        float,
        typer.Option("--temperature", metavar="N", help="From 0, always the likeliest word, to 2."),
    ] = _DEFAULTS.temperature,
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p", metavar="N", help="Choose among the likeliest words of this total probability."
        ),
    ] = _DEFAULTS.top_p,
    top_k: Annotated[
        int,
        typer.Option("--top-k", metavar="N", help="Choose among this many likeliest words; 0 is no limit."),
    ] = _DEFAULTS.top_k,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", "--max-length", metavar="N", min=1, help="Most tokens of an answer."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", min=0, max=2**63 - 1, help="The same seed, the same answer."),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            "--stop",
            metavar="TEXT",
            help="End the answer before this text; may be repeated, up to four times.",
        ),
    ] = None,
    json: JsonOption = False,
    model: ModelOption = None,
    device: DeviceOption = None,
    fp16: Fp16Option = False,
    use_cache: UseCacheOption = False,
    quantize: QuantizeOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Talk with LocalGPT.

    With a prompt it answers once. Without one a conversation begins; /help tells what can be typed. With
    --json every answer is a line {"generated_text": ...}.
    """
    options = SamplingOptions(
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_tokens=max_tokens,
        seed=seed,
        stop=tuple(stop or ()),
    )
    conversation = Conversation(options, system=system)
    text = None if prompt is None else read_text(prompt, what="prompt")
    for path in images or []:
        conversation.attach(read_picture(path), source=str(path))
    settings = settings_of(
        model=model, device=device, fp16=fp16, use_cache=use_cache, quantize=quantize, data_dir=data_dir
    )
    with Session(settings) as session:
        if text is None:
            talk(session, conversation, json=json)
        elif json:
            print_json({"generated_text": conversation.say(session, text)})
        else:
            conversation.say(session, text, on_text=lambda piece: write_text(piece, end=""))
            write_text("")
