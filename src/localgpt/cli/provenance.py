"""`localgpt provenance IMAGE...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from localgpt.cli.console import print_json, write_text
from localgpt.cli.inputs import read_picture
from localgpt.cli.options import DataDirOption, JsonOption, settings_of
from localgpt.errors import ImageFormatError

if TYPE_CHECKING:
    from localgpt.media.provenance.label import Label

__all__ = ["provenance"]

_TOLD: Final = {
    "own": "generated; signed here, and not changed since",
    "foreign": "generated; signed by another key, and not changed since",
    "changed": "the label does not fit: the picture or the label was changed, or it is another picture's",
    "unsigned": "says that it was generated; nobody signed that",
    "none": "no label, which proves nothing",
}


def provenance(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="PNG, JPEG or WebP files; - is standard input.")
    ],
    json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Tell what pictures say of where they came from, and whether that holds.

    Pictures that are painted here carry a signed label. With --json one picture gives {"path", "state",
    "model", "created", "generator", "producer", "key"}, several give a list of these; the state is own,
    foreign, changed, unsigned or none.
    """
    from localgpt.media.provenance.label import KEY_FILE, load_key, public_text, read_label
    from localgpt.settings import data_folder

    key_file = data_folder(settings_of(data_dir=data_dir)) / KEY_FILE
    own_key = public_text(load_key(key_file)) if key_file.exists() else None
    answers = []
    for path in images:
        try:
            label = read_label(read_picture(path).data, own_key=own_key)
        except ImageFormatError as error:
            raise ImageFormatError(f"{path}: {error}", param="image") from None
        answers.append(_answer(path, label))
        if not json:
            model = f" ({answers[-1]['model']}, {answers[-1]['created']})" if answers[-1]["model"] else ""
            write_text(f"{path}: {_TOLD[label.state]}{model}")
    if json:
        print_json(answers if len(answers) > 1 else answers[0])


def _answer(path: Path, label: Label) -> dict[str, Any]:
    claim, aigc = label.claim or {}, label.aigc or {}
    return {
        "path": str(path),
        "state": label.state,
        "model": claim.get("model"),
        "created": claim.get("created"),
        "generator": claim.get("claim_generator"),
        "producer": aigc.get("ContentProducer"),
        "key": label.key,
    }
