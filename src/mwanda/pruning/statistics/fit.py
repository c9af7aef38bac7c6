"""Whether saved statistics fit what is asked of them, and the model they are used on."""

from __future__ import annotations

import math

from mwanda.errors import InputError
from mwanda.methods.recipe.resolved import ResolvedRecipe
from mwanda.model.identity import linears_sha256, rest_sha256
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.run.structure import Structure
from mwanda.pruning.calibration_text import CalibrationInput, name_of, weights_of
from mwanda.pruning.schedule import Schedule
from mwanda.pruning.statistics.file import SavedStatistics
from mwanda.system.run_options import RunOptions


def misfits(
    saved: SavedStatistics,
    calibration: CalibrationInput | None,
    recipe: ResolvedRecipe,
    options: RunOptions,
) -> list[InputError]:
    """Everything in which a request does not fit a file of statistics."""
    record, found = saved.record, []
    if calibration is not None:
        found.append(
            InputError(
                "--calibration",
                expected="none beside --statistics, which says what text was read",
                found=name_of(calibration),
            )
        )
    if recipe.mode != "dense":
        found.append(
            InputError(
                "--mode",
                expected="dense with --statistics: they are those of the unpruned model",
                found=recipe.mode,
                fix="leave --mode out, or give --calibration instead",
            )
        )
    if options.compute_dtype not in ("auto", record.compute_dtype):
        found.append(
            InputError(
                "--compute-dtype",
                expected=f"{record.compute_dtype}, in which the statistics were made",
                found=options.compute_dtype,
                fix="leave it out",
            )
        )
    if recipe.skip_first_tokens != record.skip_first_tokens:
        found.append(
            InputError(
                "--skip-first-tokens",
                expected=f"{record.skip_first_tokens}, with which the statistics were made",
                found=str(recipe.skip_first_tokens),
                fix="give the same, or make them again",
            )
        )
    if recipe.probe is not None:
        found.append(
            InputError(
                "--allocation",
                expected="one that looks at sums, with --statistics",
                found=f"{recipe.allocation.name}, which runs masked blocks on text",
                fix="choose another, or give --calibration instead",
            )
        )
    languages = recipe.languages or saved.languages
    for option, tags in (
        ("--languages", languages),
        ("--language-weights", tuple(recipe.language_weights)),
    ):
        strange = [tag for tag in tags if tag not in saved.languages]
        if strange:
            found.append(
                InputError(
                    option,
                    expected=f"languages of the statistics: {', '.join(saved.languages)}",
                    found=", ".join(strange),
                    fix="make statistics of them and merge, or drop them",
                )
            )
    needs = Schedule.of(recipe, saved=True).saved_needs
    missing = [need for need in needs if need not in record.needs]
    if missing:
        found.append(
            InputError(
                f"statistics {saved.path}",
                expected=f"sums that this recipe needs: {', '.join(needs)}",
                found=f"none of {', '.join(missing)}",
                fix="make them again" + (" with --gram" if "gram" in missing else ""),
            )
        )
    elif "gram" in needs and not found:
        found += _gram_misfits(saved, recipe)
    return found


def _gram_misfits(saved: SavedStatistics, recipe: ResolvedRecipe) -> list[InputError]:
    """Gram matrices are sums over languages: neither these nor their weights can be changed."""
    known = saved.record.calibration.weights
    wanted = weights_of(recipe, [*(recipe.languages or saved.languages)])
    if wanted.keys() == known.keys() and all(
        math.isclose(wanted[tag], known[tag], rel_tol=1e-9) for tag in known
    ):
        return []
    shown = ",".join(f"{tag}={weight:.6g}" for tag, weight in known.items())
    return [
        InputError(
            "--languages and --language-weights",
            expected=f"those of the Gram matrices in {saved.path}: {shown}",
            found=",".join(f"{tag}={weight:.6g}" for tag, weight in wanted.items()),
            fix="give the same, make statistics under the new ones, or use no reconstruction",
        )
    ]


def check_names(
    saved: SavedStatistics, decoder: Decoder, chosen: Structure, recipe: ResolvedRecipe
) -> None:
    """Refuse statistics of a model with other linears, or without one that is to be pruned."""
    thing, shapes = f"statistics {saved.path}", saved.record.shapes
    own = {linear.name: (linear.rows, linear.columns) for linear in decoder.structure.linears()}
    strange = [name for name, shape in shapes.items() if own.get(name) != shape]
    if strange or saved.record.model.blocks != len(decoder.structure.blocks):
        first = strange[0] if strange else f"{saved.record.model.blocks} blocks"
        here = own.get(first)
        raise InputError(
            thing,
            expected="those of this model"
            + (f", whose {first} is {[*here]}" if here is not None else ""),
            found=f"those of {saved.record.model.name}, with {first}"
            + (f" {[*shapes[first]]}" if strange else ""),
            fix="make statistics of this model",
        )
    absent = [linear.name for linear in chosen.linears() if linear.name not in shapes]
    if absent:
        raise InputError(
            thing,
            expected=f"statistics of {absent[0]}",
            found=f"none ({len(absent)} such linears)",
            fix="leave them out with --exclude, or make statistics without excluding them",
        )
    if "gram" in Schedule.of(recipe, saved=True).saved_needs:
        bare = [linear.name for linear in chosen.linears() if not saved.has_gram(linear.name)]
        if bare:
            raise InputError(
                thing,
                expected=f"a Gram matrix of what enters {bare[0]}",
                found=f"none ({len(bare)} such linears)",
                fix="leave them out with --exclude, or use no reconstruction",
            )


def check_weights(saved: SavedStatistics, decoder: Decoder) -> None:
    """Refuse statistics of a model with other weights; one in memory is told by its linears."""
    model = saved.record.model
    where = None
    if linears_sha256(decoder) != model.linears_sha256:
        where = "in its linears"
    elif isinstance(decoder, StreamedDecoder) and rest_sha256(decoder) != model.rest_sha256:
        where = "outside its linears"
    if where is not None:
        raise InputError(
            f"statistics {saved.path}",
            expected=f"the model they were made of, {model.name}",
            found=f"one with other weights {where}",
            fix="make statistics of this model",
        )
