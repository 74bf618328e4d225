"""The data key of a store, and what opens it.

The data key is random, and only a rotation changes it; it is stored wrapped (AES-256-GCM) in the database,
and one of these unwraps it:

    file         32 random bytes in `store.key` of the data folder, readable by this user alone
    passphrase   scrypt of the words
    keyring      32 random bytes that the operating system keeps
    none         encryption is switched off; the key stands in the clear, for keyed hashes alone

The method is part of the record; settings that ask for another one are an error, never a silent change.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
import stat
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from localgpt.errors import ConfigError, StoreError
from localgpt.server.store.sealing import KEY_BYTES, NONCE_BYTES
from localgpt.settings import Settings

__all__ = [
    "KEY_FILE",
    "NEXT_KEY_FILE",
    "Unlocked",
    "former_key_file",
    "how_to_open",
    "method_of",
    "new_record",
    "passphrase_of",
    "settle",
    "sync_folder",
    "unlock",
    "unwrap",
    "wrap",
]

KEY_FILE = "store.key"
NEXT_KEY_FILE = f"{KEY_FILE}.next"  # of a rotation under way, or of one that was killed
KEYRING_SERVICE = "localgpt"
SCRYPT_COST = 2**17  # 128 MiB for each guess, as OWASP's password storage sheet advises
_MIN_SCRYPT_COST, _MAX_SCRYPT_COST = 2**14, 2**20
_WORDS = {
    "file": f"the key file {KEY_FILE}",
    "passphrase": "a passphrase",
    "keyring": "the system's keyring",
    "none": "nothing (encryption is off)",
}
_HOW = {
    "file": "leave LOCALGPT_PASSPHRASE, LOCALGPT_USE_KEYRING and LOCALGPT_ENCRYPT unset",
    "passphrase": "set LOCALGPT_PASSPHRASE",
    "keyring": "set LOCALGPT_USE_KEYRING=true",
    "none": "set LOCALGPT_ENCRYPT=false",
}


class Unlocked(NamedTuple):
    """An open vault: the data key, and the record that has to be stored."""

    data_key: bytes
    record: str
    encrypts: bool


def method_of(settings: Settings) -> str:
    """What the settings open a store with: file, passphrase, keyring or none.

    Raises:
        ConfigError: they contradict each other.
    """
    asked = [
        name for name, on in (("passphrase", settings.passphrase), ("keyring", settings.use_keyring)) if on
    ]
    if not settings.encrypt:
        asked.append("none")
    if len(asked) > 1:
        raise ConfigError(f"the store was told to use {' and '.join(asked)} at once; choose one")
    return asked[0] if asked else "file"


def how_to_open(method: str) -> str:
    """What to set so that a store of this method opens, as one clause."""
    return _HOW[method]


def passphrase_of(settings: Settings) -> str | None:
    """The words that open the store, where there are some."""
    return settings.passphrase.get_secret_value() if settings.passphrase else None


def new_record(data_key: bytes, settings: Settings, folder: Path, key_file: str = KEY_FILE) -> str:
    """A data key closed the way the settings say; makes the key file or the keyring's entry.

    Raises:
        ConfigError: the settings contradict each other, or there is no keyring.
        StoreError: the key file cannot be made or used.
    """
    method = method_of(settings)
    if method == "none":
        return json.dumps({"version": _version(data_key), "by": "none", "key": _to_text(data_key)})
    if method == "passphrase":
        return wrap(data_key, passphrase_of(settings) or "")
    head: dict[str, Any] = {"version": _version(data_key), "by": method, "id": secrets.token_hex(8)}
    if method == "file":
        return _close(data_key, _key_in_file(folder / key_file, create=True), head)
    key = secrets.token_bytes(KEY_BYTES)
    _keyring().set_password(KEYRING_SERVICE, head["id"], _to_text(key))
    return _close(data_key, key, head)


def wrap(data_key: bytes, passphrase: str) -> str:
    """A record that the passphrase opens.

    Raises:
        ConfigError: the passphrase is empty.
    """
    if not passphrase.strip():
        raise ConfigError("the passphrase is empty; choose one of several words")
    salt = secrets.token_bytes(16)
    head: dict[str, Any] = {"version": _version(data_key), "by": "passphrase", "salt": _to_text(salt)}
    head |= {"n": SCRYPT_COST, "r": 8, "p": 1}
    return _close(data_key, _stretch(passphrase, head), head)


def unwrap(record: str, passphrase: str) -> bytes:
    """The data key of a record made by `wrap`.

    Raises:
        StoreError: the passphrase is wrong, or the record is damaged.
    """
    head = _parse(record)
    try:
        return _open(_stretch(passphrase, head), head)
    except InvalidTag:
        raise StoreError("the passphrase does not open this; try again with the right one") from None


def unlock(record: str, settings: Settings, folder: Path) -> Unlocked:
    """Open a record the way the settings say.

    Args:
        record: as `new_record` made it.
        settings: passphrase, keyring or encryption off; a key file else.
        folder: holds the key file.

    Raises:
        ConfigError: the settings name another way than the record's.
        StoreError: the key is missing or wrong.
    """
    head, method = _parse(record), method_of(settings)
    if head["by"] != method:
        raise ConfigError(
            f"this store is opened by {_WORDS[head['by']]}, and the settings name {_WORDS[method]}; "
            f"{_HOW[head['by']]}"
        )
    if method == "none":
        return Unlocked(_from_text(head["key"]), record, False)
    if method == "passphrase":
        return Unlocked(unwrap(record, passphrase_of(settings) or ""), record, True)
    if method == "file":
        key, name = _key_in_file(folder / KEY_FILE, create=False), str(folder / KEY_FILE)
    else:
        key, name = _key_in_keyring(head["id"]), "the key in the system's keyring"
    try:
        return Unlocked(_open(key, head), record, True)
    except InvalidTag:
        raise StoreError(f"{name} is not the key of this store; put the right one back") from None


def settle(record: str, folder: Path) -> None:
    """Finish a rotation that was killed: its key file takes its place, or goes if the store has the former.

    The former key file stays beside it, under a name of its own: older backups need it.

    Args:
        record: of the store, read while the folder's lock is held.
        folder: holds the key files.
    """
    path, following = folder / KEY_FILE, folder / NEXT_KEY_FILE
    if not following.exists():
        return
    head = _parse(record)
    if head["by"] != "file" or _opens(path, head):
        following.unlink(missing_ok=True)
    elif _opens(following, head):
        if path.exists():
            with contextlib.suppress(FileExistsError):
                _write_key_file(former_key_file(folder), _key_in_file(path, create=False))
        with contextlib.suppress(FileNotFoundError):  # whoever opens the store beside us was quicker
            following.replace(path)
        sync_folder(folder)


def former_key_file(folder: Path) -> Path:
    """Where the present key file goes when another takes its place."""
    key = _key_in_file(folder / KEY_FILE, create=False)
    return folder / f"{KEY_FILE}.old-{hashlib.sha256(key).hexdigest()[:8]}"


def _opens(path: Path, head: dict[str, Any]) -> bool:
    try:
        _open(_key_in_file(path, create=False), head)
    except (StoreError, InvalidTag):
        return False
    return True


def _version(data_key: bytes) -> int:
    """Of a record: 2 holds what a rotation made, which versions before it would misread."""
    return 1 if len(data_key) == KEY_BYTES else 2


def _close(data_key: bytes, key: bytes, head: dict[str, Any]) -> str:
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, data_key, _bound(head))
    return json.dumps(head | {"wrapped": _to_text(nonce + sealed)})


def _open(key: bytes, head: dict[str, Any]) -> bytes:
    sealed = _from_text(head["wrapped"])
    return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(head))


def _bound(head: dict[str, Any]) -> bytes:
    """Everything but the sealed key is authenticated with it."""
    return json.dumps({name: head[name] for name in sorted(head) if name != "wrapped"}).encode()


def _parse(record: str) -> dict[str, Any]:
    """The record as a dictionary of the shape its method needs.

    Raises:
        StoreError: it is damaged, or of a later version.
    """
    needed = {
        "file": {"id", "wrapped"},
        "keyring": {"id", "wrapped"},
        "passphrase": {"salt", "n", "r", "p", "wrapped"},
        "none": {"key"},
    }
    try:
        head = json.loads(record)
        is_known = head["version"] in (1, 2) and set(head) == needed[head["by"]] | {"version", "by"}
    except (ValueError, KeyError, TypeError):
        is_known = False
    if not is_known:
        raise StoreError("the store's key record is damaged or of a later version; restore a backup")
    return cast("dict[str, Any]", head)


def _stretch(passphrase: str, head: dict[str, Any]) -> bytes:
    if head["by"] != "passphrase" or not _MIN_SCRYPT_COST <= head["n"] <= _MAX_SCRYPT_COST:
        raise StoreError("the store's key record asks for an unsafe passphrase cost; restore a backup")
    words = unicodedata.normalize("NFKC", passphrase.strip()).encode()
    return Scrypt(
        salt=_from_text(head["salt"]), length=KEY_BYTES, n=head["n"], r=head["r"], p=head["p"]
    ).derive(words)


def _key_in_file(path: Path, *, create: bool) -> bytes:
    if create:
        with contextlib.suppress(FileExistsError):
            _write_key_file(path, secrets.token_bytes(KEY_BYTES))
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise StoreError(
            f"this store is encrypted and its key file {path} is missing; put it back from your copy"
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read the key file {path} ({error})") from None
    if os.name == "posix" and mode & 0o077:
        raise StoreError(f"others may read the key file {path} (mode {mode:04o}); chmod 600 it")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise StoreError(f"the key file {path} is damaged (expected 64 hexadecimal digits); put it back")
    return key


def _write_key_file(path: Path, key: bytes) -> None:
    """Durably, before anything is encrypted with it.

    Raises:
        FileExistsError: there is one.
        StoreError: the folder does not allow it.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise
    except OSError as error:
        raise StoreError(f"cannot make the key file {path} ({error})") from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have what was made, renamed or removed in a folder on the disk."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Keyring(Protocol):
    def get_password(self, service: str, username: str) -> str | None: ...

    def set_password(self, service: str, username: str, password: str) -> None: ...


def _keyring() -> _Keyring:
    try:
        import keyring
    except ImportError:
        raise ConfigError(
            "LOCALGPT_USE_KEYRING needs the package keyring; pip install 'localgpt[keyring]', or leave it off"
        ) from None
    return cast("_Keyring", keyring)


def _key_in_keyring(name: str) -> bytes:
    text = _keyring().get_password(KEYRING_SERVICE, name)
    if text is None:
        raise StoreError("the system's keyring has no key of this store; sign in as the user who made it")
    return _from_text(text)


def _to_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _from_text(text: str) -> bytes:
    return base64.b64decode(text)
