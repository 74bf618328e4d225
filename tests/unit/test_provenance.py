"""Labels of generated pictures: in every format, signed, bound to what is shown, and read again."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image

from localgpt.errors import ConfigError, ImageFormatError
from localgpt.media.provenance.containers import content_hash, media_type_of, read_xmp, write_xmp
from localgpt.media.provenance.label import Labeller, load_key, public_text, read_label

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LABELLER = Labeller(KEY, generator="LocalGPT/1", producer="示例 <Example> & Co")
FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("JPEG", {"quality": 90}),
    ("JPEG", {"quality": 90, "progressive": True, "exif": Image.Exif()}),
    ("WEBP", {"quality": 80}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"quality": 80, "xmp": b"<other/>"}),
]


def picture(kind: str = "PNG", *, mode: str = "RGB", seed: int = 0, **options: Any) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (33, 47, len(mode)), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noise, mode).save(sink, kind, **options)
    return sink.getvalue()


def shown(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize(
    ("kind", "options", "mode"),
    [
        (kind, options, mode)
        for kind, options in FORMATS
        for mode in ("RGB", "RGBA")
        if (kind, mode) != ("JPEG", "RGBA")  # which knows no transparency
    ],
)
def test_a_label_is_read_again_and_changes_no_pixel(kind: str, options: dict[str, Any], mode: str) -> None:
    plain = picture(kind, mode=mode, **options)
    labelled = LABELLER.label(plain, model="maker/painter")
    assert np.array_equal(shown(plain), shown(labelled))
    assert content_hash(plain) == content_hash(labelled)
    label = read_label(labelled, own_key=public_text(KEY))
    assert label.state == "own" and label.claim is not None and label.aigc is not None
    assert label.claim["model"] == "maker/painter" and label.claim["format"] == media_type_of(plain)
    assert label.aigc["Label"] == "1" and label.aigc["ContentProducer"] == "示例 <Example> & Co"
    assert label.aigc["ProduceID"] in label.claim["instance_id"]
    assert read_label(labelled).state == "foreign"
    assert read_label(plain, own_key=public_text(KEY)).state == "none"
    with Image.open(io.BytesIO(labelled)) as image:  # another reader finds it, too
        packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
        assert b"TC260:AIGC" in packet and packet == read_xmp(labelled)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize(("kind", "options"), FORMATS)
def test_a_changed_picture_and_a_moved_label_are_told(kind: str, options: dict[str, Any]) -> None:
    labelled = LABELLER.label(picture(kind, **options), model="m")
    packet = read_xmp(labelled)
    assert packet is not None
    moved = write_xmp(picture(kind, seed=1, **options), packet)
    assert read_label(moved, own_key=public_text(KEY)).state == "changed"
    for old, new in ((b'"model":"m"', b'"model":"n"'), (b"<localgpt:Signature>", b"<localgpt:Signature>AA")):
        assert old in packet
        forged = write_xmp(labelled, packet.replace(old, new))
        assert read_label(forged, own_key=public_text(KEY)).state == "changed"
    for old, new in (
        (b'"Label": "1"', b'"Label": "3"'),
        (b"<Example>".replace(b"<", b"&lt;").replace(b">", b"&gt;"), b"Another"),
        (b'"ProduceID": "', b'"ProduceID": "0'),
        (b"trainedAlgorithmicMedia</Iptc", b"digitalCapture</Iptc"),
    ):  # what other programs read of a label is as good as what is signed
        assert packet.count(old) >= 1
        head, _, tail = packet.partition(old)
        forged = write_xmp(labelled, head + new + tail)
        assert read_label(forged, own_key=public_text(KEY)).state == "changed"
    twice = LABELLER.label(labelled, model="n")  # the newer one alone stays
    found = read_label(twice).claim
    assert found is not None and found["model"] == "n" and twice.count(b"TC260:AIGC>") == 2


def test_labels_of_others() -> None:
    plain = picture()
    foreign = '<x xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:t="http://www.tc260.org.cn/ns/AIGC/1.0/">'
    packet = foreign + "<r:Description t:AIGC='{}'/></x>".format(json.dumps({"Label": "1"}))
    label = read_label(write_xmp(plain, packet.encode()))
    assert label.state == "unsigned" and label.aigc == {"Label": "1"}
    for odd in (b"", b"<", b"\xff", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', b"<x/>"):
        assert read_label(write_xmp(plain, odd)).state == "none"


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(50), b"no picture at all"])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ImageFormatError, match="no PNG, JPEG or WebP"):
        LABELLER.label(data, model="m")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_cut_files_are_refused(kind: str) -> None:
    whole = picture(kind)
    for length in (13, 20, 31):
        with pytest.raises(ImageFormatError, match="damaged"):
            content_hash(whole[:length])
    with pytest.raises(ImageFormatError, match="at most"):
        write_xmp(picture("JPEG"), bytes(70_000))


def test_the_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    path = tmp_path / "home" / "provenance.pem"
    first = public_text(load_key(path))
    assert public_text(load_key(path)) == first != public_text(load_key(None))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["provenance.pem"]
    path.write_text("no key")
    with pytest.raises(ConfigError, match="no Ed25519 key"):
        load_key(path)
    with pytest.raises(ConfigError, match="cannot read or make"):
        load_key(path / "below")
