"""The options of `localgpt serve` beyond address and model: what is let in, TLS, and the log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "AllowedHostsOption",
    "DrainOption",
    "HeartbeatOption",
    "LogFormatOption",
    "LogLevelOption",
    "LogPromptsOption",
    "MaxBodyOption",
    "MaxConnectionsOption",
    "MaxQueueOption",
    "MemoryBudgetOption",
    "NoModelProcessOption",
    "ReadTimeoutOption",
    "RequestTimeoutOption",
    "TlsCertOption",
    "TlsKeyOption",
    "TlsSelfSignedOption",
    "TrustedProxiesOption",
    "WriteTimeoutOption",
]

MaxQueueOption = Annotated[
    int | None,
    typer.Option(
        "--max-queue", metavar="N", min=0, help="Requests that may wait; one more gets 503. Default: 64."
    ),
]
MemoryBudgetOption = Annotated[
    int | None,
    typer.Option(
        "--memory-budget",
        metavar="MIB",
        min=1,
        help="Memory for models, their caches and their work. Default: what the device has free, less a "
        "reserve for others.",
    ),
]
NoModelProcessOption = Annotated[
    bool,
    typer.Option(
        "--no-model-process",
        help="Load the models in the server's own process. In one of their own, which is the default where "
        "the system can do that, they answer faster under load, and the server outlives their crash.",
    ),
]
RequestTimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--request-timeout",
        metavar="SECONDS",
        help="Most time from request to last byte. Default: 600.",
    ),
]
HeartbeatOption = Annotated[
    float | None,
    typer.Option(
        "--heartbeat", metavar="SECONDS", help="How often a silent stream is kept alive. Default: 15."
    ),
]
DrainOption = Annotated[
    float | None,
    typer.Option(
        "--drain", metavar="SECONDS", help="Time that answers under way get at SIGTERM. Default: 1."
    ),
]
MaxBodyOption = Annotated[
    int | None, typer.Option("--max-body", metavar="MIB", min=1, help="Largest request. Default: 64.")
]
MaxConnectionsOption = Annotated[
    int | None,
    typer.Option(
        "--max-connections", metavar="N", min=1, help="Open connections; one more gets 503. Default: 512."
    ),
]
ReadTimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--read-timeout",
        metavar="SECONDS",
        help="Most time for a request's headers, and for the beginning of its body. Default: 10.",
    ),
]
WriteTimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--write-timeout", metavar="SECONDS", help="How long a client may read nothing. Default: 30."
    ),
]
AllowedHostsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-host",
        metavar="NAME",
        help="A further name that a server on 127.0.0.1 answers to, for a proxy. Needs a key; may be "
        "repeated.",
    ),
]
TrustedProxiesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-proxy",
        metavar="ADDRESS",
        help="A proxy whose X-Forwarded-For and X-Forwarded-Proto are believed. Needs a key; may be "
        "repeated.",
    ),
]
TlsCertOption = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="Serve https with this certificate (PEM).")
]
TlsKeyOption = Annotated[
    Path | None, typer.Option("--tls-key", metavar="FILE", help="The key of --tls-cert (PEM, no passphrase).")
]
TlsSelfSignedOption = Annotated[
    bool,
    typer.Option(
        "--tls-self-signed",
        help="Serve https with a certificate made here and kept in the data folder; browsers let a page on a "
        "local network use the microphone over https only.",
    ),
]
LogLevelOption = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option(
        "--log-level", metavar="debug|info|warning|error", help="What goes to standard error. Default: info."
    ),
]
LogFormatOption = Annotated[
    Literal["text", "json"] | None,
    typer.Option("--log-format", metavar="text|json", help="Form of the log's lines. Default: text."),
]
LogPromptsOption = Annotated[
    bool,
    typer.Option("--log-prompts", help="Write what is asked and answered into the log too."),
]
