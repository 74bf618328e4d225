"""`start_api`, exactly as published, and `serve`, which the command line shares with it."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Mapping
from typing import Any

from localgpt.server.access import is_loopback
from localgpt.server.app import create_app
from localgpt.server.running import address_of, bind, run_server
from localgpt.settings import Settings, settings_from_config

__all__ = ["serve", "start_api"]


def start_api(config: Mapping[str, Any] | None = None, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Prints the device and the address; for an address others can reach, without a key in `config`, it makes
    one random key, prints it once, and requires it.

    Args:
        config: `modelpath` (or `model_path`), `device`, `max_batch_size`, `enable语音` (or `enable_voice`),
            and the other keys of `localgpt.settings.CONFIG_KEYS`.
        host: address to listen on; "0.0.0.0" is every address of this machine.
        port: port to listen on; 0 lets the system choose.

    Raises:
        ConfigError: an unknown key, an impossible value, or a port in use.
        CheckpointError: the model cannot be used.
    """
    settings = settings_from_config(config or {}, host=host, port=port)
    if not settings.api_keys and not is_loopback(host):
        key = f"sk-{secrets.token_urlsafe(32)}"
        settings = settings.model_copy(update={"api_keys": (key,)})
        _say(f"API key (shown once): {key}")
    serve(settings)


def serve(settings: Settings) -> None:
    """Bind, load in the background, and serve.

    Raises:
        ConfigError: the port is in use, or the device or the model is unknown.
        CheckpointError: the model cannot be used.
    """
    from localgpt.checkpoints import resolve_family
    from localgpt.compute import resolve_device
    from localgpt.runtime.loading import LazyService, LoadOptions

    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    listener = bind(settings.host, settings.port)
    try:
        choice = resolve_device(settings.device)
        resolve_family(settings.model)
        service = LazyService(
            LoadOptions(
                model=settings.model,
                device=settings.device,
                fp16=settings.fp16,
                max_batch_size=settings.max_batch_size,
            )
        )
        app = create_app(settings, service)
    except BaseException:
        listener.close()
        raise
    if choice.notice:
        _say(f"Warning: {choice.notice}")
    _say(f"Device: {choice.device}")
    run_server(app, listener, on_listening=lambda: _say(f"LocalGPT listens on {address_of(listener)}"))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
