"""Certificates: the user's own, or one made here for a local network.

A browser gives the microphone to secure pages only: https, or a page of its own machine. A phone that opens
the page over the local network therefore needs TLS, and no authority signs names such as 192.168.1.5. So the
server can sign for itself; the browser warns once, and the fingerprint printed at the start is what to
compare with the one the browser shows.

Covered: the key is readable by its user alone, and the certificate is made anew when it has run out or when
the machine's names or addresses have changed. Not covered: a certificate that is accepted without comparing.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from localgpt.errors import ConfigError
from localgpt.settings import Settings, data_folder

__all__ = ["Identity", "identity_of", "local_names"]

_DAYS = 365  # browsers refuse certificates that are valid for longer than 398 days
_RENEW_DAYS = 30  # before the end
_FOLDER = "tls"
_PROBES = (  # connecting a UDP socket sends nothing; it tells which address would be the sender's
    (socket.AF_INET, "192.0.2.1"),  # addresses kept for documentation
    (socket.AF_INET6, "2001:db8::1"),
)
WHY = (
    "The certificate is this server's own, so a browser warns once on each device. Compare the fingerprint "
    "it shows (certificate, SHA-256) with the one above before you go on. Over plain http on a local "
    "network, browsers do not let a page use the microphone."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate and its key, both PEM files that belong together."""

    cert: Path
    key: Path
    fingerprint: str  # SHA-256, as browsers show it
    is_self_signed: bool

    @property
    def lines(self) -> tuple[str, ...]:
        """What is said at the start."""
        shown = f"TLS certificate, SHA-256: {self.fingerprint}"
        return (shown, WHY) if self.is_self_signed else (shown,)


def identity_of(settings: Settings) -> Identity | None:
    """The certificate that the settings ask for; None where they ask for none.

    Raises:
        ConfigError: one file without the other, a file that cannot be read or does not fit, or both a file
            and a self-signed one.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if settings.tls_self_signed:
        if cert is not None or key is not None:
            raise ConfigError("got both certificate files and --tls-self-signed; give one of them")
        folder = data_folder(settings, create=True) / _FOLDER
        return _self_signed(folder, local_names(settings.host, *settings.allowed_hosts))
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        got, missing = ("--tls-key", "--tls-cert") if cert is None else ("--tls-cert", "--tls-key")
        raise ConfigError(f"got {got} without {missing}; TLS needs both, as PEM files")
    return _checked(cert, key, is_self_signed=False)


def local_names(host: str, *further: str) -> tuple[str, ...]:
    """Names and addresses by which this machine can be asked: its own, and those of the local network.

    Args:
        host: the address the server listens on.
        further: other names it answers to.
    """
    names = ["localhost", "127.0.0.1", "::1"]
    own_name = socket.gethostname().lower()
    if own_name and own_name.isascii() and own_name != "localhost":
        names += [own_name, own_name if "." in own_name else f"{own_name}.local"]
    bound = host.strip("[]").partition("%")[0].lower()
    if bound and bound not in ("0.0.0.0", "::"):
        names.append(bound)
    names += filter(None, (_outgoing_address(family, target) for family, target in _PROBES))
    names += [name.strip("[]").lower() for name in further]
    return tuple(dict.fromkeys(names))


def _outgoing_address(family: socket.AddressFamily, target: str) -> str | None:
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target, 9))
        return str(probe.getsockname()[0]).partition("%")[0]
    return None


def _self_signed(folder: Path, names: tuple[str, ...]) -> Identity:
    cert, key = folder / "cert.pem", folder / "key.pem"
    if not _is_good(cert, names):
        try:
            _make(cert, key, names)
        except OSError as error:
            raise ConfigError(
                f"cannot write a certificate into {folder} ({error}); choose another folder with --data-dir"
            ) from None
    return _checked(cert, key, is_self_signed=True)


def _is_good(path: Path, names: tuple[str, ...]) -> bool:
    """Whether a certificate made here is there, names all of `names`, and is valid for a while."""
    try:
        cert = x509.load_pem_x509_certificate(path.read_bytes())
        known = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    now = datetime.now(UTC)
    in_time = cert.not_valid_before_utc <= now < cert.not_valid_after_utc - timedelta(days=_RENEW_DAYS)
    return in_time and set(map(_general_name, names)) <= set(known)


def _make(cert_path: Path, key_path: Path, names: tuple[str, ...]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "LocalGPT on this machine")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks of other devices may be late
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    cert = builder.sign(key, hashes.SHA256())
    cert_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # The key first: a certificate that is there always has its key beside it.
    _write_private(key_path, secret)
    _write_private(cert_path, cert.public_bytes(serialization.Encoding.PEM))


def _write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 whole or not at all."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with open(unfinished, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _checked(cert: Path, key: Path, *, is_self_signed: bool) -> Identity:
    """An identity whose files a server can really use, so that it does not fail after loading models.

    Raises:
        ConfigError: one cannot be read, or the key is not that of the certificate.
    """
    for path, what in ((cert, "certificate"), (key, "key")):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read the TLS {what} {path}: {error.strerror or error}") from None
        if b"-----BEGIN" not in data:
            raise ConfigError(f"the TLS {what} {path} is no PEM file; expected a line -----BEGIN ...-----")
    if b"ENCRYPTED" in key.read_bytes():
        raise ConfigError(
            f"the TLS key {key} is protected by a passphrase, which a server cannot type; "
            f"write one without: openssl pkey -in {key} -out plain.pem"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        first = x509.load_pem_x509_certificates(cert.read_bytes())[0]
    except (ssl.SSLError, ValueError) as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            reason = "the key is not that of the certificate"
        else:
            reason = f"they cannot be used ({error})"
        raise ConfigError(f"TLS files {cert} and {key}: {reason}; expected PEM files of one pair") from None
    digest = hashlib.sha256(first.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
    fingerprint = ":".join(digest[place : place + 2] for place in range(0, len(digest), 2))
    return Identity(cert=cert, key=key, fingerprint=fingerprint, is_self_signed=is_self_signed)
