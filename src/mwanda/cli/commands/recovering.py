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
from mwanda.pruning.recipe.keywords import recovery_given
from mwanda.pruning.recipe.recovery import Settings
from mwanda.system.extras import need
from mwanda.system.progress import speaks

RECOVER = (
    *opt.TEXT, "languages", *Settings.model_fields, "language_weights", "windows", "window_length",
    "background", "background_weight", "background_windows", "seed", "keep_english",
    "keep_repeated", "dtype", *opt.FORWARD,
    "max_shard_size", "allow_short", "trust_remote_code", "overwrite", "journal", "restart",
    *opt.LOUD,
)  # fmt: skip


def recover(
    model: Annotated[str, typer.Argument(help="A folder with zeros, usually a pruned one.")],
    dense: Annotated[str, "The model it was pruned from: folder, GGUF file or hub id."],
    out: Annotated[Path | None, "Folder to write."] = None,
    window_length: Annotated[int | None, "Tokens per window. Default: 256."] = None,
    plan: Annotated[bool, "Say what it would take; learn and write nothing."] = False,
    **given: Annotated[Any, RECOVER],
) -> Iterator[View | str]:
    """Let the weights that MODEL kept learn from the dense model in every language; zeros stay."""
    early.check_out_or_plan(out, plan=plan)
    need("accelerate", "mwanda recover", "recover")
    fields = recipe_fields(window_length=window_length, **given)
    recovery_given(fields)  # mistakes in it are told before anything is looked at
    early.check_model(model, dense)
    if out is not None and speaks():
        for name in (model, dense):
            early.check_folder_out(out, name, overwrite=given["overwrite"])
    early.check_text(given["calibration"], fields.get("languages"))
    how = {"calibration": given["calibration"], **fields}
    if out is None:
        from mwanda.cli.views.recovering import planned
        from mwanda.pruned.recover.plan import plan_recover

        yield planned(plan_recover(model, options=opt.run_options_of(given), **how))
        return
    with opt.progress_of(given, model) as progress:
        from mwanda.pruned.recover.recover import recover as run

        options = opt.run_options_of(given, progress=progress)
        made = run(model, out, dense=dense, options=options, **how)
    if speaks():
        from mwanda.cli.views.pruning import go_on
        from mwanda.cli.views.recovering import recovered

        yield recovered(made.folder, made.manifest)
        yield go_on(dense, out, [*made.recovery.held_out])
