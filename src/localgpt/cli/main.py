"""The command `localgpt`: its commands, and the one place where errors become a line and an exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from localgpt import __version__
from localgpt.cli import (
    ask,
    backup,
    bench,
    chat,
    describe,
    detect,
    doctor,
    embed,
    keys,
    models,
    paint,
    provenance,
    pull,
    restore,
    say,
    serve,
    train,
    transcribe,
)
from localgpt.cli.console import note, write_text
from localgpt.cli.interrupts import INTERRUPTED, abrupt_interrupts
from localgpt.errors import LocalGPTError

__all__ = ["app", "main", "run"]

_DEBUG = "--debug"
# Typer carries its own copy of click since 0.2x, so the class is found by way of one it exports.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="localgpt",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.callback(invoke_without_command=True)
def localgpt(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Write the version and end.")] = False,
    debug: Annotated[
        bool, typer.Option(_DEBUG, help="Show the details of an unexpected error, as LOCALGPT_DEBUG=1 does.")
    ] = False,
) -> None:
    """LocalGPT: chats and looks at pictures on this computer, offline."""
    if version:
        write_text(f"localgpt {__version__}")
    elif context.invoked_subcommand is None:
        write_text(context.get_help())


app.command()(serve.serve)
app.command()(chat.chat)
app.command()(describe.describe)
app.command()(ask.ask)
app.command()(detect.detect)
app.command()(paint.paint)
app.command()(provenance.provenance)
app.command()(transcribe.transcribe)
app.command()(say.say)
app.command()(embed.embed)
app.command()(pull.pull)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.command()(backup.backup)
app.command()(restore.restore)
app.command()(doctor.doctor)
app.add_typer(bench.app, name="bench")
app.command()(train.train)


def run() -> None:
    """The entry point of the installed command.

    The process ends without Python's own farewell: taking down torch's libraries lasts most of a second, and
    a thread that still loads would make it a crash.
    """
    abrupt_interrupts()
    status = main(sys.argv[1:])
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the reader is gone
            stream.flush()
    os._exit(status)


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; errors are written as one line.

    Args:
        arguments: without the program's name.
    """
    arguments, debug = _normalise(arguments)
    debug = debug or os.environ.get("LOCALGPT_DEBUG", "") not in ("", "0")
    _prepare_streams(debug)
    try:
        status = app(args=arguments, prog_name="localgpt", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except LocalGPTError as error:
        return _fail(error, error.exit_status, str(error), debug)
    except _UsageError as error:
        return _fail(error, 2, _usage_message(error), debug)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    except Exception as error:  # noqa: BLE001 - the boundary of the command line
        kind = type(error).__name__
        hint = "LOCALGPT_DEBUG=1 or --debug shows the details"
        return _fail(error, 1, f"unexpected error: {kind}: {error} ({hint})", debug)


def _fail(error: Exception, status: int, message: str, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    note(message)
    return status


def _usage_message(error: Exception) -> str:
    """What click has to say, and where the help is."""
    message = getattr(error, "format_message", lambda: str(error))()
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "localgpt"
    return f"{message.rstrip('.')}; see {command} --help"


def _normalise(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Options with underscores in the spelling of click; `--debug` taken out, wherever it stands."""
    found, debug = [], False
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            found += [argument, *rest]
            break
        if argument == _DEBUG:
            debug = True
            continue
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            argument = name.replace("_", "-") + equals + value
        found.append(argument)
    return found, debug


def _prepare_streams(debug: bool) -> None:
    """Never fail on a character the terminal lacks; keep libraries' warnings and logs for those who debug."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if debug:
        logging.basicConfig(level=logging.DEBUG)
        return
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger("localgpt").addHandler(logging.NullHandler())
