"""`localgpt serve`: the page and the API."""

from __future__ import annotations

from typing import Annotated

import typer

from localgpt.cli.console import note, write_text
from localgpt.cli.interrupts import INTERRUPTED, graceful_interrupts
from localgpt.cli.options import (
    DataDirOption,
    DeviceOption,
    FastOption,
    Fp16Option,
    ModelOption,
    QuantizeOption,
    UseCacheOption,
    settings_of,
)
from localgpt.cli.serve_options import (
    AllowedHostsOption,
    DrainOption,
    HeartbeatOption,
    LogFormatOption,
    LogLevelOption,
    LogPromptsOption,
    MaxBodyOption,
    MaxConnectionsOption,
    MaxQueueOption,
    MemoryBudgetOption,
    NoModelProcessOption,
    ReadTimeoutOption,
    RequestTimeoutOption,
    TlsCertOption,
    TlsKeyOption,
    TlsSelfSignedOption,
    TrustedProxiesOption,
    WriteTimeoutOption,
)
from localgpt.cli.upstreams import UpstreamsOption, upstream_values

__all__ = ["serve"]


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="ADDRESS", help="Address to listen on. Default: 127.0.0.1, this machine only."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=0, max=65535, help="Default: 8000; 0 chooses a free one."),
    ] = None,
    api_keys: Annotated[
        list[str] | None,
        typer.Option(
            "--api-key",
            metavar="KEY",
            help="Ask callers for this key; may be repeated. Needed for an address others can reach. "
            "LOCALGPT_API_KEYS=KEY,KEY keeps it out of the list of processes.",
        ),
    ] = None,
    max_batch_size: Annotated[
        int | None,
        typer.Option(
            "--max-batch-size", metavar="N", min=1, max=64, help="Answers made at once. Default: 4."
        ),
    ] = None,
    memory_budget_mib: MemoryBudgetOption = None,
    use_cache: UseCacheOption = False,
    no_model_process: NoModelProcessOption = False,
    max_queue: MaxQueueOption = None,
    request_timeout_s: RequestTimeoutOption = None,
    heartbeat_s: HeartbeatOption = None,
    drain_s: DrainOption = None,
    max_body_mib: MaxBodyOption = None,
    max_connections: MaxConnectionsOption = None,
    read_timeout_s: ReadTimeoutOption = None,
    write_timeout_s: WriteTimeoutOption = None,
    allowed_hosts: AllowedHostsOption = None,
    trusted_proxies: TrustedProxiesOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    tls_self_signed: TlsSelfSignedOption = False,
    log_level: LogLevelOption = None,
    log_format: LogFormatOption = None,
    log_prompts: LogPromptsOption = False,
    upstreams: UpstreamsOption = None,
    data_dir: DataDirOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    fp16: Fp16Option = False,
    quantize: QuantizeOption = None,
    fast: FastOption = None,
) -> None:
    """Serve the page and the OpenAI-compatible API until Ctrl-C."""
    from localgpt.server.start import serve as serve_settings

    settings = settings_of(
        host=host,
        port=port,
        api_keys=api_keys,
        max_batch_size=max_batch_size,
        memory_budget_mib=memory_budget_mib,
        use_cache=use_cache,
        max_queue=max_queue,
        request_timeout_s=request_timeout_s,
        heartbeat_s=heartbeat_s,
        drain_s=drain_s,
        max_body_mib=max_body_mib,
        max_connections=max_connections,
        read_timeout_s=read_timeout_s,
        write_timeout_s=write_timeout_s,
        allowed_hosts=allowed_hosts,
        trusted_proxies=trusted_proxies,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_self_signed=tls_self_signed,
        log_level=log_level,
        log_format=log_format,
        log_prompts=log_prompts,
        upstreams=upstream_values(upstreams),
        data_dir=data_dir,
        model=model,
        device=device,
        fp16=fp16,
        quantize=quantize,
        fast=fast,
    )
    if no_model_process:
        settings = settings.model_copy(update={"model_process": False})
    if not settings.model_process:
        import localgpt.runtime.loading  # noqa: F401 - while Ctrl-C is still abrupt

    with graceful_interrupts():
        interrupted = serve_settings(settings, say=write_text, warn=note)
    if interrupted:
        raise typer.Exit(INTERRUPTED)
