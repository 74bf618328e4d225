"""Certificates: made, kept, made anew; and files that do not do."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from localgpt.errors import ConfigError
from localgpt.server import tls
from localgpt.server.tls import Identity, identity_of, local_names
from localgpt.settings import Settings


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Identity]:
    """The certificate of a data folder, made where it is needed."""

    def make(**settings: Any) -> Identity:
        identity = identity_of(Settings(tls_self_signed=True, data_dir=tmp_path, **settings))
        assert identity is not None
        return identity

    return make


def names_of(identity: Identity) -> set[str]:
    cert = x509.load_pem_x509_certificate(identity.cert.read_bytes())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def test_no_tls_unless_asked_for() -> None:
    assert identity_of(Settings()) is None


def test_a_certificate_of_our_own(make: Callable[..., Identity], tmp_path: Path) -> None:
    identity = make(host="0.0.0.0", allowed_hosts=("chat.lan",))
    assert {"localhost", "127.0.0.1", "::1", "chat.lan"} <= names_of(identity)
    cert = x509.load_pem_x509_certificate(identity.cert.read_bytes())
    assert cert.fingerprint(hashes.SHA256()).hex(":").upper() == identity.fingerprint
    assert identity.fingerprint in identity.lines[0] and "microphone" in identity.lines[1]
    if sys.platform != "win32":
        assert {stat.S_IMODE(path.stat().st_mode) for path in (identity.cert, identity.key)} == {0o600}
        assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == ["cert.pem", "key.pem"]


def test_it_is_kept_until_names_change_or_it_runs_out(
    make: Callable[..., Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make().fingerprint
    assert make().fingerprint == first
    second = make(allowed_hosts=("new.lan",)).fingerprint
    assert second != first
    assert make().fingerprint == second  # more names than needed do no harm
    monkeypatch.setattr(tls, "_RENEW_DAYS", timedelta(days=tls._DAYS).days)
    assert make().fingerprint != second


def test_a_damaged_one_is_made_anew(make: Callable[..., Identity]) -> None:
    identity = make()
    identity.cert.write_bytes(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    assert make().fingerprint != identity.fingerprint


def test_files_of_the_user(make: Callable[..., Identity]) -> None:
    own = make()
    identity = identity_of(Settings(tls_cert=own.cert, tls_key=own.key))
    assert identity is not None and identity.fingerprint == own.fingerprint
    assert not identity.is_self_signed and len(identity.lines) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tls_key": None}, "without --tls-key"),
        ({"tls_cert": None}, "without --tls-cert"),
        ({"tls_self_signed": True}, "both"),
        ({"tls_cert": Path("/nowhere.pem")}, "cannot read the TLS certificate"),
        ({"tls_key": "text"}, "no PEM file"),
        ({"tls_key": "other"}, "not that of the certificate"),
        ({"tls_key": "locked"}, "passphrase"),
        ({"tls_cert": "key"}, "cannot be used"),
    ],
)
def test_files_that_do_not_do(
    make: Callable[..., Identity], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    own = make()
    key = serialization.load_pem_private_key(own.key.read_bytes(), None)
    files = {name: tmp_path / name for name in ("text", "other", "locked", "key")}
    files["text"].write_text("no key")
    files["key"].write_bytes(own.key.read_bytes())
    files["locked"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    second = identity_of(Settings(tls_self_signed=True, data_dir=tmp_path / "second"))
    assert second is not None
    files["other"].write_bytes(second.key.read_bytes())
    given = {"tls_cert": own.cert, "tls_key": own.key, **change}
    given = {name: files[value] if isinstance(value, str) else value for name, value in given.items()}
    with pytest.raises(ConfigError, match=message):
        identity_of(Settings(**given))


def test_names_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls.socket, "gethostname", lambda: "Box")
    names = local_names("192.168.1.5", "Chat.LAN")
    assert names[:3] == ("localhost", "127.0.0.1", "::1")
    assert {"box", "box.local", "192.168.1.5", "chat.lan"} <= set(names)
    assert not {"0.0.0.0", "::"} & set(local_names("0.0.0.0"))
