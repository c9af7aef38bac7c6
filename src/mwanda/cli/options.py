"""The options that commands share, each written once, and how a command comes by them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import wraps
from inspect import Parameter, Signature, isgeneratorfunction, signature
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import typer

from mwanda.cli.completion import completer
from mwanda.cli.recipe_fields import field_options
from mwanda.cli.views import View, show
from mwanda.errors import InputError
from mwanda.pruning.recipe.asked import Recipe
from mwanda.system.files import parse_size
from mwanda.system.progress import Progress, progress_bar
from mwanda.system.run_options import RunOptions
from mwanda.text.sources import with_text_field

Model = Annotated[str, typer.Argument(help="Model folder, GGUF file or hub id.")]
PrunedFolder = Annotated[Path, typer.Argument(help="A folder that mwanda wrote.")]
OutFolder = Annotated[Path, "Folder to write; must not exist."]
OutFile = Annotated[Path, "File to write, .safetensors."]

Command = Callable[..., Iterable[View | str] | None]
"""Takes options, and yields what it wants shown, or advises, if anything."""


class Option(NamedTuple):
    """An option by its name.

    Attributes:
        kind: its type; where the default is None, None is one too.
        flags: how it is written, with spaces between several ways, where that is not its name (and
            ``--no-`` it, where that is on).
        least: of a number.
    """

    kind: Any
    help: str
    default: Any = None
    flags: str = ""
    least: int | None = None

    def parameter(self, name: str) -> Parameter:
        """As typer finds it in a function's signature."""
        plain = f"--{name.replace('_', '-')}"
        flags = self.flags or (f"{plain}/--no-{plain[2:]}" if self.default is True else plain)
        told = typer.Option(
            *flags.split(), help=self.help, min=self.least, autocompletion=completer(name)
        )
        kind = self.kind | None if self.default is None else self.kind
        return Parameter(
            name, Parameter.KEYWORD_ONLY, default=self.default, annotation=Annotated[kind, told]
        )


OPTIONS: Mapping[str, Option] = {
    "calibration": Option(
        str,
        "Folder of <tag>.txt, .jsonl or .parquet, also .gz or .zst; bundled:udhr/first; "
        "hub:<data set>; or a windows file (.safetensors).",
    ),
    "text_field": Option(str, "Field of a row that holds the text. Default: text."),
    "statistics": Option(Path, "A file of mwanda stats, instead of --calibration."),
    "recipe": Option(str, "A name of mwanda ls recipes, or a YAML file; options win over it."),
    "text": Option(str, "Text source to score, as --calibration.", Parameter.empty),
    "sentences": Option(int, "Seeded subset of so many a language.", least=1),
    "ids": Option(str, "Only records with id in LOWEST:HIGHEST."),
    "max_length": Option(int, "Tokens of one forward; longer: strides.", 2048, least=2),
    "language": Option(list[str], "A language's own limit, sw=2%; may be repeated."),
    "gate_on": Option(
        str, "point: the rise itself decides; upper: the end of its 95 % interval.", "point"
    ),
    "threads": Option(int, "Chunks coded at a time. Default: cores.", least=1),
    "device": Option(str, "auto, cpu, or an accelerator: cuda, mps, xpu …, or cuda:N.", "auto"),
    "compute_dtype": Option(str, "What the forward runs in; auto picks a fast one.", "auto"),
    "activation_memory": Option(str, "Hidden states kept in memory; the rest on disk.", "512MiB"),
    "batch_tokens": Option(int, "Tokens in one forward of one block.", 2048, least=1),
    "max_shard_size": Option(str, "Bytes of one written shard.", "5GB"),
    "allow_short": Option(bool, "Go on with less calibration text than asked for.", False),
    "allow_overlap": Option(bool, "Evaluate on text drawn for calibration.", False),
    "trust_remote_code": Option(bool, "Run code that the model brings along.", False),
    "overwrite": Option(bool, "Replace an output of mwanda's.", False),
    "journal": Option(bool, "Keep what is finished, to go on after an interruption.", True),
    "restart": Option(bool, "Discard what an unfinished run has kept.", False),
    "as_json": Option(bool, "Print the result as JSON.", False, "--json"),
    "quiet": Option(bool, "Only warnings and errors on stderr.", False, "--quiet -q"),
    "verbose": Option(bool, "A line for every step.", False, "--verbose -v"),
    "debug": Option(bool, "Show the traceback behind an error.", False),
    **{name: Option(kind, told, None, flags) for name, kind, told, flags in field_options()},
}

LOUD = ("quiet", "verbose")
FORWARD = ("device", "compute_dtype", "activation_memory", "batch_tokens")
TEXT = ("calibration", "text_field")

_FIRST = (
    "languages", "sparsity", "criterion", "criterion_option", "allocation", "allocation_option",
    "allocation_level", "reconstruction", "reconstruction_option", "pattern", "mode", "windows",
    "window_length", "background", "background_weight", "background_windows", "language_weights",
    "include", "exclude", "skip_blocks",
)  # fmt: skip
RECIPE = tuple(dict.fromkeys((*_FIRST, *Recipe.model_fields)))
"""All fields of a recipe, in the order of the help."""

PRUNE = (
    *TEXT, "statistics", *RECIPE, "recipe", *FORWARD, "max_shard_size", "allow_short",
    "trust_remote_code", "overwrite", "journal", "restart", *LOUD,
)  # fmt: skip


def with_options(command: Command, *, alone: str | None = None) -> Callable[..., None]:
    """The command with its whole signature, as typer wants it; what it yields is shown.

    ``Annotated[kind, HELP, FLAGS]`` is an option of its own, whose flags may be left out where they
    are its name; a parameter that says nothing but its type is the option of that name.
    ``**given: Annotated[Any, NAMES]`` stands for the options of these names, among which some of
    the command's own may have their place. Sources of text come with the field of ``--text-field``.

    Args:
        alone: the command's name, where several processes cannot share it.
    """

    @wraps(command)
    def run(as_json: bool = False, debug: bool = False, **given: Any) -> None:
        if given.get("quiet"):
            logging.getLogger("mwanda").setLevel(logging.WARNING)
        if alone is not None and "WORLD_SIZE" in os.environ:  # asked first: the module takes torch
            from mwanda.system.ranks import check_alone

            check_alone(alone)
        field = given.pop("text_field", None)
        sources = [name for name in ("calibration", "text") if given.get(name) is not None]
        if field is not None and not sources:
            raise InputError("--text-field", expected="a text that has it", found="none named")
        for name in sources:
            given[name] = with_text_field(given[name], field)
        for view in command(**given) or ():
            show(view, as_json)

    own, listed = {}, ()
    for name, parameter in signature(command, eval_str=True).parameters.items():
        if parameter.kind is Parameter.VAR_KEYWORD:
            listed = get_args(parameter.annotation)[1]
        elif get_origin(parameter.annotation) is not Annotated:
            own[name] = OPTIONS[name].parameter(name)
        else:
            kind, told, *flags = get_args(parameter.annotation)
            own[name] = parameter.replace(kind=Parameter.KEYWORD_ONLY)
            if isinstance(told, str):
                own[name] = Option(kind, told, parameter.default, *flags).parameter(name)
    order = [*(name for name in own if name not in listed), *listed]
    order += ["as_json", "debug"] if isgeneratorfunction(command) else ["debug"]
    parameters = [own.get(name) or OPTIONS[name].parameter(name) for name in order]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return run


def progress_of(
    given: Mapping[str, Any], model: str | None = None
) -> AbstractContextManager[Progress]:
    """What long work reports to, as loud as a command's options say.

    Args:
        model: that is opened first.
    """
    return progress_bar(model, **{name: given[name] for name in LOUD})


def run_options_of(given: Mapping[str, Any], **more: Any) -> RunOptions:
    """How to run, among a command's options."""
    values = {each.name: given[each.name] for each in fields(RunOptions) if each.name in given}
    for name in ("activation_memory", "max_shard_size"):
        if name in values:
            values[name] = parse_size(values[name], f"--{name.replace('_', '-')}")
    return RunOptions(**values, **more)
