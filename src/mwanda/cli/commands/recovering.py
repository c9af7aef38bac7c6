"""What a pruned model learns after the prune: recover."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.recipe_fields import recipe_fields
from mwanda.cli.views import View
from mwanda.system.extras import need
from mwanda.system.progress import speaks

RECOVER = (
    *opt.TEXT, "languages", "language_weights", "windows", "background", "background_weight",
    "background_windows", "seed", "keep_english", "keep_repeated", "dtype", *opt.FORWARD,
    "max_shard_size", "allow_short", "trust_remote_code", "overwrite", "journal", "restart",
    *opt.LOUD,
)  # fmt: skip


def recover(
    model: Annotated[str, typer.Argument(help="A folder with zeros, usually a pruned one.")],
    dense: Annotated[str, "The model it was pruned from: folder, GGUF file or hub id."],
    out: Annotated[Path | None, "Folder to write."] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Default: 4 passes over the text, at most 300 steps.")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="The highest; it falls as a cosine. Default: 4e-5; low rank: 4e-4."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows of one step.")] = 8,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Of them, windows of one forward. Default: all.")
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option(
            min=1, help="Windows a language not learnt from. Default: an eighth, 4 at most."
        ),
    ] = None,
    sampled: Annotated[
        int,
        typer.Option(
            min=0, help="Entries of a large vocabulary that stand for the unlikely; 0: all of it."
        ),
    ] = 8192,
    window_length: Annotated[
        int | None, typer.Option(min=2, help="Tokens per window. Default: 256.")
    ] = None,
    train_embeddings: Annotated[bool, "Embeddings and head learn too."] = False,
    objective: Annotated[
        str, "mean over languages, or worst: more turns to those that are behind."
    ] = "mean",
    optimizer: Annotated[
        str, "adam-8bit: its states in a quarter of the memory, by bitsandbytes."
    ] = "adam",
    low_rank: Annotated[
        int | None,
        typer.Option(min=1, help="Learn a product of this rank, added to the kept weights."),
    ] = None,
    gradient_checkpointing: Annotated[bool, "Less memory, a third more work."] = False,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Looks at held-out text without gain before it stops, of 8."),
    ] = None,
    never_worse: Annotated[bool, "Exit 3 if a language ends worse than it began."] = False,
    report_to: Annotated[
        list[str] | None, "tensorboard, wandb, …: what the Trainer logs to; may be repeated."
    ] = None,
    plan: Annotated[bool, "Say what it would take; learn and write nothing."] = False,
    **given: Annotated[Any, RECOVER],
) -> Iterator[View | str]:
    """Let the weights that MODEL kept learn from the dense model in every language; zeros stay."""
    early.check_out_or_plan(out, plan=plan)
    need("accelerate", "mwanda recover", "recover")
    fields = recipe_fields(window_length=window_length, **given)
    early.check_model(model, dense)
    if out is not None and speaks():
        for name in (model, dense):
            early.check_folder_out(out, name, overwrite=given["overwrite"])
    early.check_text(given["calibration"], fields.get("languages"))
    how: dict[str, Any] = {
        "calibration": given["calibration"], "steps": steps, "learning_rate": learning_rate,
        "batch": batch, "at_once": at_once, "held_out": held_out, "sampled": sampled,
        "train_embeddings": train_embeddings, "objective": objective, "optimizer": optimizer,
        "low_rank": low_rank, "gradient_checkpointing": gradient_checkpointing,
        "patience": patience, **fields,
    }  # fmt: skip
    if out is None:
        from mwanda.cli.views.recovering import planned
        from mwanda.pruned.recover.plan import plan_recover

        yield planned(plan_recover(model, options=opt.run_options_of(given), **how))
        return
    with opt.progress_of(given, model) as progress:
        from mwanda.pruned.recover.recover import recover as run

        made = run(
            model, out, dense=dense, never_worse=never_worse, report_to=report_to or (),
            options=opt.run_options_of(given, progress=progress), **how,
        )  # fmt: skip
    if speaks():
        from mwanda.cli.views.pruning import go_on
        from mwanda.cli.views.recovering import recovered

        yield recovered(made.folder, made.manifest)
        yield go_on(dense, out, [*made.recovery.held_out])
