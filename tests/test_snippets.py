"""The two published programs, word for word, on the committed weights."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from localgpt.checkpoints import embedded_folder
from localgpt.errors import MissingWeightsError
from tests.served import PATIENCE_S, Server

DESCRIBE = """\
from localgpt import MultimodalPipeline
pipeline = MultimodalPipeline.from_pretrained("local/multimodal-base")
result = pipeline.image_to_text("photo.jpg", max_length=100)
print(result["generated_text"])
"""
SERVE = """\
from localgpt.server import start_api
start_api({"modelpath": "./model.bin", "device": "cuda:0", "max_batch_size": 4, "enable语音": True}, \
host="0.0.0.0", port=8000)
"""

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photo.jpg and model.bin, as a reader of the article has it."""
    try:
        embedded_folder()
    except MissingWeightsError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("article")
    photo = Image.new("RGB", (640, 480), (120, 180, 240))
    draw = ImageDraw.Draw(photo)
    draw.rectangle((0, 320, 640, 480), fill=(60, 150, 60))
    draw.ellipse((220, 180, 420, 380), fill=(210, 40, 40))
    photo.save(folder / "photo.jpg", quality=92)
    subprocess.run(
        [sys.executable, "-m", "localgpt", "models", "export", "model.bin"], cwd=folder, check=True
    )
    return folder


def test_describe_as_published(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DESCRIBE],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert len(done.stdout.split()) >= 3, done.stdout


def test_serve_as_published(folder: Path) -> None:
    code = SERVE.replace("port=8000", "port=0")  # the one change: 8000 may be taken here
    server = Server([sys.executable, "-c", code], dict(os.environ), folder)
    try:
        assert re.search(r"^Device: \S+$", server.said, re.MULTILINE)
        (key,) = re.findall(r"API key \(shown once\): (\S+)", server.said)
        assert server.ask(key)["object"] == "chat.completion"
        assert server.end(signal.SIGINT)[0] == 0
    finally:
        server.process.kill()
        server.process.communicate()
