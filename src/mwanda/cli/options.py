"""The options of the commands, each written once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Model = Annotated[str, typer.Argument(help="Model folder, GGUF file or hub id.")]
Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        help="Folder of <tag>.txt, .jsonl or .parquet, also .gz or .zst; bundled:udhr/first; "
        "hub:<data set>; or a windows file (.safetensors).",
    ),
]
TextField = Annotated[
    str | None,
    typer.Option("--text-field", help="Field of a row that holds the text. Default: text."),
]
KeepEnglish = Annotated[
    bool | None,
    typer.Option(
        "--keep-english/--drop-english",
        help="Lines of English in other languages' calibration text. Default: dropped.",
    ),
]
KeepRepeated = Annotated[
    bool | None,
    typer.Option(
        "--keep-repeated/--drop-repeated",
        help="Pages of calibration text that come again. Default: dropped.",
    ),
]
Statistics = Annotated[
    Path | None,
    typer.Option("--statistics", help="A file of mwanda stats, instead of --calibration."),
]
Languages = Annotated[
    str | None, typer.Option("--languages", help="Tags with commas: de,fr,sw. Default: all.")
]
LanguageWeights = Annotated[
    str | None, typer.Option("--language-weights", help="Like de=2,sw=1; 1 where not named.")
]
Sparsity = Annotated[
    float | None, typer.Option("--sparsity", help="Share of weights to remove. Default: 0.5.")
]
Criterion = Annotated[
    str | None, typer.Option("--criterion", help="See mwanda ls criteria. Default: m-wanda.")
]
CriterionOption = Annotated[
    list[str] | None,
    typer.Option("--criterion-option", help="NAME=VALUE of the criterion; may be repeated."),
]
Allocation = Annotated[
    str | None,
    typer.Option(
        "--allocation",
        help="See mwanda ls allocations. Default: measured; cwl with --statistics and in a search; "
        "uniform with N:M, sparsity 0 or a criterion that needs no text.",
    ),
]
AllocationOption = Annotated[
    list[str] | None,
    typer.Option("--allocation-option", help="NAME=VALUE of the allocation; may be repeated."),
]
AllocationLevel = Annotated[
    str | None,
    typer.Option(
        "--allocation-level",
        help="A sparsity for each block, role or linear. Default: role for measured, else block.",
    ),
]
Reconstruction = Annotated[
    str | None,
    typer.Option(
        "--reconstruction",
        help="Of the weights kept; see mwanda ls reconstructions. Default: none.",
    ),
]
ReconstructionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reconstruction-option", help="NAME=VALUE of the reconstruction; may be repeated."
    ),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        "--pattern",
        help="unstructured, unstructured-matrix or N:M, N kept. Default: unstructured.",
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        help="dense or sequential statistics. Default: dense at sparsities from 0.35 to 0.55 "
        "(0.45 with a reconstruction), sequential elsewhere.",
    ),
]
Windows = Annotated[
    int | None,
    typer.Option("--windows", help="Windows per language. Default: 128, or all of the text."),
]
WindowLength = Annotated[
    int | None,
    typer.Option(
        "--window-length", help="Tokens per window. Default: 2048, or the model's context."
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Of the draw of text. Default: 0.")]
SkipFirstTokens = Annotated[
    int | None,
    typer.Option(
        "--skip-first-tokens", help="First tokens of every window that do not count. Default: 0."
    ),
]
Include = Annotated[
    list[str] | None, typer.Option("--include", help="Regular expression over linear names.")
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", help="Regular expression over linear names.")
]
SkipBlocks = Annotated[
    str | None, typer.Option("--skip-blocks", help="Block numbers to leave alone: 0,1,17.")
]
Dtype = Annotated[
    str | None, typer.Option("--dtype", help="What is written. Default: auto, the source's.")
]
ExpertTokens = Annotated[
    int | None,
    typer.Option("--expert-tokens", help="Experts with fewer: by magnitude. Default: 32."),
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="YAML recipe; options given here win over it.")
]
LanguageLimit = Annotated[
    list[str] | None,
    typer.Option("--language", help="A language's own limit, sw=2%; may be repeated."),
]
GateOn = Annotated[
    str,
    typer.Option(
        "--gate-on", help="point: the rise itself decides; upper: the end of its 95 % interval."
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
ComputeDtype = Annotated[
    str, typer.Option("--compute-dtype", help="What the forward runs in; auto picks a fast one.")
]
ActivationMemory = Annotated[
    str,
    typer.Option("--activation-memory", help="Hidden states kept in memory; the rest on disk."),
]
BatchTokens = Annotated[
    int, typer.Option("--batch-tokens", min=1, help="Tokens in one forward of one block.")
]
AllowShort = Annotated[
    bool, typer.Option("--allow-short", help="Go on with less calibration text than asked for.")
]
AllowOverlap = Annotated[
    bool, typer.Option("--allow-overlap", help="Evaluate on text drawn for calibration.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that the model brings along.")
]
MaxShardSize = Annotated[str, typer.Option("--max-shard-size", help="Bytes of one written shard.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output of mwanda's.")]
Journal = Annotated[
    bool,
    typer.Option(
        "--journal/--no-journal", help="Keep what is finished, to go on after an interruption."
    ),
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Discard what an unfinished run has kept.")
]
Text = Annotated[str, typer.Option("--text", help="Text source to score, as --calibration.")]
Sentences = Annotated[
    int | None, typer.Option("--sentences", min=1, help="Seeded subset of so many a language.")
]
Ids = Annotated[str | None, typer.Option("--ids", help="Only records with id in LOWEST:HIGHEST.")]
MaxLength = Annotated[
    int, typer.Option("--max-length", min=2, help="Tokens of one forward; longer: strides.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def recipe_options(
    calibration: Calibration = None,
    text_field: TextField = None,
    statistics: Statistics = None,
    languages: Languages = None,
    sparsity: Sparsity = None,
    criterion: Criterion = None,
    criterion_option: CriterionOption = None,
    allocation: Allocation = None,
    allocation_option: AllocationOption = None,
    allocation_level: AllocationLevel = None,
    reconstruction: Reconstruction = None,
    reconstruction_option: ReconstructionOption = None,
    pattern: Pattern = None,
    mode: Mode = None,
    windows: Windows = None,
    window_length: WindowLength = None,
    language_weights: LanguageWeights = None,
    include: Include = None,
    exclude: Exclude = None,
    skip_blocks: SkipBlocks = None,
    seed: Seed = None,
    keep_english: KeepEnglish = None,
    keep_repeated: KeepRepeated = None,
    skip_first_tokens: SkipFirstTokens = None,
    dtype: Dtype = None,
    expert_tokens: ExpertTokens = None,
    recipe: RecipeFile = None,
    device: Device = "auto",
    compute_dtype: ComputeDtype = "auto",
    activation_memory: ActivationMemory = "512MiB",
    batch_tokens: BatchTokens = 2048,
    max_shard_size: MaxShardSize = "5GB",
    allow_short: AllowShort = False,
    trust_remote_code: TrustRemoteCode = False,
    overwrite: Overwrite = False,
    journal: Journal = True,
    restart: Restart = False,
    as_json: AsJson = False,
) -> None:
    """Never called: the options that prune and plan have in common."""


def with_field(source: str | None, field: str | None) -> str | None:
    """A text source with the field that ``--text-field`` names."""
    if field is None:
        return source
    from mwanda.text.sources import with_text_field

    return with_text_field(source, field)


def with_recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command with ``**given`` the options of :func:`recipe_options`; its calibration comes
    with the field of its text."""

    @wraps(command)
    def run(**given: Any) -> None:
        given["calibration"] = with_field(given["calibration"], given["text_field"])
        command(**given)

    parameters = []
    for function in (command, recipe_options):
        hints = get_type_hints(function, include_extras=True)
        parameters += [
            parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name])
            for name, parameter in signature(function).parameters.items()
            if parameter.kind is not Parameter.VAR_KEYWORD
        ]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
