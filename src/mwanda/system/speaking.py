"""A public function speaks on stderr while it runs, as the command line does."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from mwanda.errors import MwandaError
from mwanda.system.progress import Silent, ToStderr, Unasked, progress_bar
from mwanda.system.run_options import RunOptions

log = logging.getLogger("mwanda")

Function = TypeVar("Function", bound=Callable[..., Any])


def speaking(function: Function) -> Function:
    """A decorator: progress goes to stderr where the caller gives none, and so do the lines of the
    logger ``mwanda``, from INFO up, where no handler is configured.

    ``progress=mwanda.Silent()``, by itself or among the options, silences one call. A logger
    ``mwanda`` whose level is above INFO silences all of them. Nothing is left configured after.
    """
    takes = inspect.signature(function).parameters
    default = takes["options"].default if "options" in takes else None

    @wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        options = given.get("options") or default or RunOptions()
        asked: Any = given.get("progress") or Unasked()
        if "options" in takes:
            asked = getattr(options, "progress", None)  # what is no options, the function refuses
        quiet = type(asked) is Silent or log.level > logging.INFO
        with _noting(takes), _lines(quiet=quiet) as added:
            if not isinstance(asked, Unasked):
                return function(*args, **given)
            model = given.get("model", args[0] if args else None)
            opened = str(model) if added and isinstance(model, str | Path) else None
            with progress_bar(opened, quiet=quiet) as progress:
                if "options" in takes:
                    given["options"] = replace(options, progress=progress)
                else:
                    given["progress"] = progress
                return function(*args, **given)

    return cast(Function, call)


@contextmanager
def _noting(takes: Container[str]) -> Iterator[None]:
    """Errors name options as the command line has them; a note, which a traceback ends with, says
    how a caller of the library writes those."""
    try:
        yield
    except MwandaError as error:
        of_run = {each.name for each in fields(RunOptions)}
        told = []
        for option in dict.fromkeys(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", str(error))):
            name = option.replace("-", "_")
            if name in takes:
                told.append(f"--{option} is {name}=")
            elif name in of_run:
                told.append(f"--{option} is options=RunOptions({name}=…)")
        if told and not hasattr(error, "__notes__"):
            error.add_note(f"in Python {', '.join(told)}")
        raise


@contextmanager
def _lines(*, quiet: bool) -> Iterator[bool]:
    """The log goes to stderr where it goes nowhere; whether that was so."""
    if quiet or log.hasHandlers():
        yield False
        return
    handler, level = ToStderr(), log.level
    log.addHandler(handler)
    log.setLevel(level or logging.INFO)
    try:
        yield True
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
