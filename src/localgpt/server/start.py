"""`start_api`, exactly as published, and `serve`, which the command line shares with it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from localgpt.errors import LocalGPTError
from localgpt.server.access import lacks_key, require_key
from localgpt.server.app import create_app
from localgpt.server.logs import PromptLog, log_to_stderr
from localgpt.server.running import Server, address_of, bind, run_server
from localgpt.server.store.records import new_key
from localgpt.server.tls import identity_of
from localgpt.settings import Settings, data_folder, settings_from_config

if TYPE_CHECKING:
    from localgpt.runtime.loading import LazyService
    from localgpt.server.store.opening import Store
    from localgpt.worker import WorkerService

__all__ = ["serve", "start_api"]


def start_api(config: Mapping[str, Any] | None = None, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Prints the device and the address; for an address others can reach, without a key in `config` or in the
    store, it makes one random key, prints it once, and requires it. A script that lets an error go ends with
    one line and exit status 2 instead of a traceback.

    Args:
        config: `modelpath` (or `model_path`), `device`, `max_batch_size`, `enable语音` (or `enable_voice`),
            and the other keys of `localgpt.settings.CONFIG_KEYS`.
        host: address to listen on; "0.0.0.0" is every address of this machine.
        port: port to listen on; 0 lets the system choose.

    Raises:
        ConfigError: an unknown key, an impossible value, or a port in use.
        CheckpointError: the model cannot be used.
    """
    try:
        serve(settings_from_config(config or {}, host=host, port=port), make_key=True)
    except LocalGPTError:
        _end_scripts_in_one_line()
        raise


def serve(
    settings: Settings,
    *,
    say: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
    make_key: bool = False,
) -> bool:
    """Bind, load in the background, and serve.

    Args:
        settings: where to listen, what to load.
        say: told the device and the address; None prints them.
        warn: told what differs from what was asked for; None prints it.
        make_key: where a key is missing, make a random one and say it once, instead of refusing.

    Returns:
        Whether Ctrl-C ended it.

    Raises:
        ConfigError: there is no key for a public server, the port is in use, or the device or the model is
            unknown.
        CheckpointError: the model cannot be used.
        StoreError: the store in the data folder cannot be opened.
    """
    from localgpt.server.store.opening import may_be_there, open_store_at_rest

    say, warn = say or _say, warn or (lambda line: _say(f"Warning: {line}"))
    log_to_stderr(settings)
    if not (make_key or may_be_there(settings)):
        require_key(settings, has_stored_keys=False)  # before anything is made
    store = open_store_at_rest(settings)
    try:
        if make_key and lacks_key(settings, has_stored_keys=store.had_keys):
            key = new_key()
            settings = settings.model_copy(update={"api_keys": (key,)})
            say(f"API key (shown once): {key}")
        require_key(settings, has_stored_keys=store.had_keys)
        return _serve(settings, store, say, warn)
    finally:
        store.lock.release()


def _serve(settings: Settings, store: Store, say: Callable[[str], None], warn: Callable[[str], None]) -> bool:
    from localgpt.runtime.keeping.keeper import HubKeeper
    from localgpt.runtime.upstream.beside import beside_upstreams, read_upstreams

    identity = identity_of(settings)
    listener = bind(settings.host, settings.port)
    scheme = "http" if identity is None else "https"
    try:
        upstreams = read_upstreams(settings.upstreams, os.environ)
        with _models(settings, warn) as service:
            served = beside_upstreams(service, upstreams)

            def on_listening() -> None:
                service.start(on_failure=server.stop)
                say(f"LocalGPT listens on {address_of(listener, scheme=scheme)}")

            app = create_app(
                settings,
                PromptLog(served) if settings.log_prompts else served,
                store=store,
                keeper=HubKeeper(data_folder(settings), os.environ),
            )
            server = Server(app, identity=identity, on_listening=on_listening)
            warnings = (one.warning for one in upstreams if one.warning is not None)
            for notice in (*service.plan.notices, *warnings, *_notices_of(settings)):
                warn(notice)
            say(f"Device: {service.plan.device}")
            for one in upstreams:
                say(f"Upstream {one.name}: {one.base_url}")
            for line in () if identity is None else identity.lines:
                say(line)
            interrupted = run_server(server, listener)
    finally:
        listener.close()
    if service.failure is not None:
        raise service.failure
    return interrupted


@contextmanager
def _models(settings: Settings, warn: Callable[[str], None]) -> Iterator[WorkerService | LazyService]:
    """The service that is served: in a process of its own where that is wanted and can be."""
    from localgpt.worker import ModelProcess, WorkerService, why_not_here

    missing = why_not_here()
    if settings.model_process and missing is None:
        service = WorkerService(partial(ModelProcess, settings))
        try:
            yield service
        finally:
            service.kill()
        return
    if settings.model_process:
        warn(f"the models run in the server's own process: {missing}")
    with _deferred_interrupts():
        from localgpt.worker.building import SWITCH_INTERVAL_S, build

        sys.setswitchinterval(SWITCH_INTERVAL_S)
        lazy = build(settings)
    yield lazy


def _notices_of(settings: Settings) -> list[str]:
    """What should not be forgotten of what was asked for, in words."""
    notices = []
    if not settings.enable_voice:
        notices.append("voice is switched off, as enable_voice asks: its routes answer 501")
    if settings.log_prompts:
        notices.append("what is asked and answered is written into the log, as log_prompts asks")
    return notices


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def _deferred_interrupts() -> Iterator[None]:
    """Raise a Ctrl-C of this block at its end: libraries swallow it while they are imported."""
    usual = signal.default_int_handler
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not usual:
        yield
        return
    seen: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if seen:
        raise KeyboardInterrupt


def _end_scripts_in_one_line() -> None:
    """Let an error of ours that nobody catches end the process as the command line does."""
    usual = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, LocalGPTError) or hasattr(sys, "ps1"):  # ps1: somebody types at a prompt
            usual(kind, error, trace)
            return
        sys.stderr.write(f"localgpt: {error}\n")
        raise SystemExit(error.exit_status)

    sys.excepthook = hook
