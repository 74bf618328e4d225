"""A signed label in a generated picture: that a machine made it, with what, when, and for whom it was signed.

One XMP packet holds three statements, for three kinds of readers:

* `TC260:AIGC`: the implicit label of GB 45438-2025 ("Label": "1" is "generated"), as China's rules of 2025
  want it in metadata; `ProduceID` is a random number of the picture.
* `Iptc4xmpExt:DigitalSourceType`: IPTC's `trainedAlgorithmicMedia`, which C2PA's `c2pa.created` action uses.
* `localgpt:Claim` and its Ed25519 signature: a manifest in the manner of C2PA. It names the hash of what the
  file shows, so that a label cannot be moved to another picture.

How we differ from C2PA (2.2): the manifest is JSON in XMP instead of CBOR in JUMBF, the key is this
computer's own instead of one with a certificate, and what is hashed is the picture rather than the bytes of
the whole file, so that tools may add metadata of their own. Readers of C2PA do not show it.

Covered: a picture or one of the three statements changed by a bit; a label moved to another picture; a claim
signed by another key. Not covered: a label that is cut out altogether (what is missing cannot be shown), and
pictures that are decoded and saved again. No prompt and no name of a user is in it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from localgpt.errors import ConfigError
from localgpt.media.provenance.containers import content_hash, media_type_of, read_xmp, write_xmp

__all__ = ["KEY_FILE", "Label", "LabelState", "Labeller", "load_key", "public_text", "read_label"]

KEY_FILE: Final = "provenance.pem"  # in the data folder

LabelState = Literal["own", "foreign", "changed", "unsigned", "none"]
"""`own`: whole, signed by this computer; `foreign`: whole, signed by another key; `changed`: picture or claim
are not what was signed; `unsigned`: it says that it was generated, and nobody signed; `none`: no label."""

_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TC260: Final = "http://www.tc260.org.cn/ns/AIGC/1.0/"
_IPTC: Final = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_OWN: Final = "https://localgpt.invalid/ns/provenance/1.0/"
_SOURCE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_PACKET: Final = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{rdf}">
  <rdf:Description rdf:about="" xmlns:TC260="{tc260}" xmlns:Iptc4xmpExt="{iptc}" xmlns:localgpt="{own}">
   <TC260:AIGC>{aigc}</TC260:AIGC>
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
   <localgpt:Claim>{claim}</localgpt:Claim>
   <localgpt:Key>{key}</localgpt:Key>
   <localgpt:Signature>{signature}</localgpt:Signature>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a picture's file says of where it came from."""

    state: LabelState
    claim: Mapping[str, Any] | None = None  # what was signed, or says that it was
    aigc: Mapping[str, Any] | None = None  # the field of GB 45438-2025
    key: str | None = None  # public, base64, of whoever signed


class Labeller:
    """Writes labels.

    Args:
        key: signs them.
        generator: name and version of the program.
        producer: who offers the service, as GB 45438-2025 wants it named; operators set their own.
    """

    def __init__(self, key: Ed25519PrivateKey, *, generator: str, producer: str) -> None:
        self._key, self._generator, self._producer = key, generator, producer

    def label(self, data: bytes, *, model: str) -> bytes:
        """The same picture with a label.

        Args:
            data: a PNG, JPEG or WebP file.
            model: that painted it.

        Raises:
            ImageFormatError: another file, or a damaged one.
        """
        number = uuid.uuid4().hex
        claim = {
            "version": 1,
            "claim_generator": self._generator,
            "instance_id": f"urn:uuid:{number}",
            "format": media_type_of(data),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": model,
            "producer": self._producer,
            "actions": [{"action": "c2pa.created", "digitalSourceType": _SOURCE}],
            "content_sha256": content_hash(data),
        }
        text = _canonical(claim)
        signature = _base64(self._key.sign(text.encode()))
        aigc = {
            "Label": "1",
            "ContentProducer": self._producer,
            "ProduceID": number,
            "ReservedCode1": signature,
            "ContentPropagator": "",
            "PropagateID": "",
            "ReservedCode2": "",
        }
        packet = _PACKET.format(
            rdf=_RDF,
            tc260=_TC260,
            iptc=_IPTC,
            own=_OWN,
            aigc=escape(json.dumps(aigc, ensure_ascii=False)),
            source=_SOURCE,
            claim=escape(text),
            key=public_text(self._key),
            signature=signature,
        )
        return write_xmp(data, packet.encode())


def read_label(data: bytes, *, own_key: str | None = None) -> Label:
    """What a file says of where it came from, and whether that holds.

    Args:
        data: a PNG, JPEG or WebP file.
        own_key: this computer's public key, as `public_text` gives it.

    Raises:
        ImageFormatError: another file, or a damaged one.
    """
    fields = _fields_of(read_xmp(data))
    aigc = _json_object(fields.get(f"{{{_TC260}}}AIGC"))
    text, key, signature = (fields.get(f"{{{_OWN}}}{name}") for name in ("Claim", "Key", "Signature"))
    claim = _json_object(text)
    if text is None or key is None or signature is None:
        state: LabelState = "none" if aigc is None and text is None else "unsigned"
        return Label(state=state, claim=claim, aigc=aigc, key=key)
    is_whole = (
        _is_signed(text, key, signature)
        and claim is not None
        and claim.get("content_sha256") == content_hash(data)
        and fields.get(f"{{{_IPTC}}}DigitalSourceType") == _SOURCE
        and _agrees(aigc, claim, signature)
    )
    state = "changed" if not is_whole else "own" if key == own_key else "foreign"
    return Label(state=state, claim=claim, aigc=aigc, key=key)


def load_key(path: Path | None) -> Ed25519PrivateKey:
    """The key of a file, which is made with the first use and readable by this user alone; None: a fresh one.

    Raises:
        ConfigError: the file cannot be made, or holds no such key.
    """
    if path is None:
        return Ed25519PrivateKey.generate()
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_key(path)
        found = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(
            f"cannot read or make {path}, the key that signs pictures ({error.strerror or error}); make its "
            "folder writable, or choose another data folder"
        ) from None
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigError(
            f"{path} holds no Ed25519 key in PEM; put the right file back, or remove it to get a new one"
        )
    return found


def public_text(key: Ed25519PrivateKey) -> str:
    """The public half of a key, in base64."""
    return _base64(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def _make_key(path: Path) -> None:
    """Write a key that is whole as soon as it is there; of two processes the first one's stays."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    part.touch(mode=0o600)
    try:
        part.write_bytes(pem)
        try:
            os.link(part, path)
        except FileExistsError:
            return
        except OSError:  # no links on this file system
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _canonical(claim: Mapping[str, Any]) -> str:
    return json.dumps(claim, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _is_signed(text: str, key: str, signature: str) -> bool:
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        public.verify(base64.b64decode(signature, validate=True), text.encode())
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True


def _agrees(aigc: Mapping[str, Any] | None, claim: Mapping[str, Any], signature: str) -> bool:
    """Whether the field of GB 45438-2025, which is not signed itself, says what the signed claim does."""
    if aigc is None:
        return False
    said = tuple(aigc.get(name) for name in ("Label", "ContentProducer", "ReservedCode1"))
    return said == (
        "1",
        claim.get("producer"),
        signature,
    ) and f"urn:uuid:{aigc.get('ProduceID')}" == claim.get("instance_id")


def _fields_of(packet: bytes | None) -> dict[str, str]:
    """Properties of an XMP packet, with their namespaces; none where it is no XMP.

    A packet with a document type is not read: it could name entities that grow without end.
    """
    if packet is None or b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        return {}
    try:
        root = ElementTree.fromstring(packet.decode().strip().strip("\ufeff"))
    except (ElementTree.ParseError, UnicodeDecodeError, ValueError):
        return {}
    fields: dict[str, str] = {}
    for part in root.iter(f"{{{_RDF}}}Description"):
        fields |= part.attrib
        fields |= {child.tag: child.text or "" for child in part}
    return fields


def _json_object(text: str | None) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
