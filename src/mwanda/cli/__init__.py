"""The command line: parse, call, print. Exit codes: 0 fine, 1 failure, 2 bad input, 3 gate."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType

from mwanda.system.progress import ToStderr, place_among, quiet_libraries

FAILURES = (
    OSError, RuntimeError, ValueError, MemoryError, LookupError, TypeError, AttributeError,
)  # fmt: skip
"""What a library or a model's own code may raise: one line, and not a traceback."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"] or ["--help"]
    sys.exit(_run(given, debug))


def _run(arguments: list[str], debug: bool) -> int:
    import typer

    from mwanda.errors import MwandaError
    from mwanda.system.late import load_late
    from mwanda.system.refusals import named

    load_late("torch")  # an argument that is wrong is told without it
    _quiet(debug)
    print_anything()
    exit_on_sigterm()
    try:
        from mwanda.cli.program import program

        code = typer.main.get_command(program()).main(
            args=arguments, prog_name="mwanda", standalone_mode=False
        )
        if code == 130:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        # Usage errors, one line like every other.
        say = getattr(error, "format_message", error.__str__)
        context = getattr(error, "ctx", None)
        command = "mwanda" if context is None else context.command_path
        text = " ".join(str(say()).split()).removesuffix(".")
        print(f"error: {text}; see {command} --help", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return tell_interrupted()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (MwandaError, *FAILURES) as error:
        if debug:
            raise
        ours = error if isinstance(error, MwandaError) else named(error, Path())
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        unknown = (f"{text}; run again with --debug for the details",)
        for problem in unknown if ours is None else ours.problems:
            print(f"error: {place_among()}{problem}", file=sys.stderr)
        return 1 if ours is None else ours.exit_code


def _quiet(debug: bool) -> None:
    """Our log goes to stderr; libraries speak only when something is wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[ToStderr()])
    logging.getLogger("mwanda").setLevel(logging.DEBUG if debug else logging.INFO)
    quiet_libraries()
    if not debug:
        warnings.filterwarnings("ignore", module=r"(torch|transformers|datasets|huggingface_hub)")


def tell_interrupted() -> int:
    """Say so, and give the exit code."""
    over = "\r" if sys.stderr.isatty() else ""  # the ^C that the terminal has put there
    print(f"{over}interrupted: nothing is half written under its name", file=sys.stderr)
    return 130


def print_anything() -> None:
    """Characters that stdout or stderr cannot encode are escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def exit_on_sigterm() -> None:
    """Leave by an exception, so that an unfinished output is removed on the way out."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(143)

    if current_thread() is main_thread():  # nobody else may, and signals go there anyway
        signal.signal(signal.SIGTERM, leave)
