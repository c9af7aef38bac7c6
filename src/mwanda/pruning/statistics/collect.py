"""Statistics of a model on text: taken once and saved, added up."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, get_args

import torch

from mwanda.errors import InputError
from mwanda.methods.input_statistics import Need
from mwanda.model.identity import linears_sha256, rest_sha256
from mwanda.model.stored.container import saved_file
from mwanda.pruning.calibration_passes import Passes, Visit
from mwanda.pruning.calibration_text import (
    GIVE_TEXT,
    CalibrationInput,
    open_calibration,
    text_or_first_try,
)
from mwanda.pruning.evidence import Opened
from mwanda.pruning.folder.manifest import versions
from mwanda.pruning.forecast.memory import gram_bytes, journal_bytes, spilled_states
from mwanda.pruning.given_arguments import options_given, recipe_given
from mwanda.pruning.recipe.keywords import StatisticsFields, with_fields
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.pruning.statistics.file import PARTS, SavedStatistics, StatisticsSpill
from mwanda.pruning.statistics.merge import plan_merge
from mwanda.pruning.statistics.record import (
    STATISTICS,
    InputRecord,
    ModelRecord,
    StatisticsRecord,
    window_hashes,
)
from mwanda.pruning.task import FolderTask, keeps_journal, open_task, ranks_for
from mwanda.system.arguments import path_given
from mwanda.system.device import dtype_name
from mwanda.system.files import check_disk_space
from mwanda.system.ranks import check_alone
from mwanda.system.run_options import RunOptions
from mwanda.system.shown import Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.system.unfinished import Partial

log = logging.getLogger("mwanda")

FIELDS = tuple(StatisticsFields.__annotations__)
"""Fields of a recipe that say what is measured."""


@dataclass(frozen=True, repr=False)
class Collected(Shown):
    """Statistics that were saved: their file, None in a process that does not write; what it says
    of itself; and bytes of activations that went to disk."""

    path: Path | None
    record: StatisticsRecord
    spilled: int = 0

    def _summary(self) -> str:
        text = self.record.calibration
        return (
            f"{self.path}, {self.record.model.name} on {text.source}, {', '.join(text.languages)}"
        )

    def _records(self) -> list[dict[str, Any]]:
        draws = self.record.calibration.languages
        return [
            {"language": tag, **draw.model_dump(exclude={"sentences"})}
            for tag, draw in draws.items()
        ]


@speaking
@undisturbed()
@with_fields(StatisticsFields)
def collect_statistics(
    model: str | Path,
    out: str | Path,
    *,
    calibration: CalibrationInput | None = None,
    gram: bool = False,
    options: RunOptions | None = None,
    **fields: Unpack[StatisticsFields],
) -> Collected:
    """Take the statistics of a model on text in one dense pass, and save them.

    Args:
        model: a folder, GGUF file or hub id.
        out: the file to write, ``.safetensors``.
        calibration: text source, windows file, or :class:`~mwanda.text.windows.Windows`.
        gram: also the Gram matrices of every linear's inputs, for a reconstruction, which fix the
            languages and their weights; experts have none.
        options: how to run.
        fields: of a recipe, those that say what is measured: ``languages=["de", "sw"]``.

    Raises:
        InputError: bad input, before anything is written.
        DataError: values that are not finite.
    """
    strange = sorted(fields.keys() - {*FIELDS})
    if strange:
        raise InputError("stats", expected=f"fields among {', '.join(FIELDS)}", found=strange[0])
    recipe, options = resolve(recipe_given(None, fields, "stats")), options_given(options)
    if recipe.language_weights and not gram:
        expected = "--gram, whose matrices are sums under fixed weights"
        fix = "leave them out: every prune weighs the languages anew"
        raise InputError("--language-weights", expected=expected, found="none", fix=fix)
    calibration, options = text_or_first_try(calibration, recipe, options)
    if calibration is None:
        expected = "text to take statistics on"
        raise InputError("--calibration", expected=expected, found="none", fix=GIVE_TEXT)
    ranks, target = ranks_for(str(path_given("model", model))), path_given("out", out)
    output = saved_file(
        target, STATISTICS, overwrite=options.overwrite,
        resume=keeps_journal(options, ranks), restart=options.restart,
    )  # fmt: skip
    if ranks.writes:
        output.check()
    opened = open_calibration(calibration, recipe)
    needs: tuple[Need, ...] = tuple(need for need in get_args(Need) if need != "gram" or gram)
    given = (opened, recipe, needs, options)
    if not ranks.writes:
        return Collected(None, *_collect(str(model), None, *given)[:2])
    with output:
        found, spilled, spill = _collect(str(model), output.partial, *given)
        output.publish(spill.join(found))
    log.info("wrote %s", target)
    return Collected(target, found, spilled)


@undisturbed()
def merge_statistics(
    files: Sequence[str | Path], out: str | Path, *, overwrite: bool = False
) -> Collected:
    """Add files of statistics up, as if all their text had been read in one pass.

    Args:
        files: two or more, of the same model under the same settings.
        out: the file to write, ``.safetensors``.
        overwrite: replace an existing file of statistics.

    Raises:
        InputError: bad files, or files that cannot be added up; see
            :func:`mwanda.pruning.statistics.merge.plan_merge`.
    """
    check_alone("stats merge")
    several = [files] if isinstance(files, str | Path) else [*files]
    if len(several) < 2:
        raise InputError("stats merge", expected="two files or more", found=str(len(several)))
    paths = [path_given("files", path) for path in several]
    output = saved_file(path_given("out", out), STATISTICS, overwrite=overwrite)
    output.check(paths)
    opened = [SavedStatistics.open(path) for path in paths]
    plan = plan_merge(opened)
    for file in opened:
        file.check_values(grams=True)
    for tag, sentences in plan.shared.items():
        log.warning(
            "language %s: %d sentences were read for more than one of the files; what of them is "
            "in windows of both counts twice",
            tag, sentences,
        )  # fmt: skip
    with output as folder:
        # Sums of languages that only one file has come together; Gram matrices add up in place.
        whole = sum(path.stat().st_size for path in paths)
        check_disk_space(folder, 2 * whole, "the merged statistics")
        output.publish(plan.write(folder))
    log.info("wrote %s", out)
    return Collected(Path(out), SavedStatistics.open(out).record)


def _collect(
    name: str,
    partial: Partial | None,
    opened: Opened,
    recipe: ResolvedRecipe,
    needs: tuple[Need, ...],
    options: RunOptions,
) -> tuple[StatisticsRecord, int, StatisticsSpill]:
    """The pass: what was found, bytes of activations spilled, and the sums put aside; nothing is
    without a ``partial``, in a process that does not write."""
    start = time.perf_counter()
    with open_task("statistics", name, partial, opened, recipe, options, needs=needs) as task:
        if partial is not None:
            _check_room(partial, task, needs)
        tokens, work = task.evidence.tokens, None if partial is None else partial.work
        spill = StatisticsSpill(work, list(tokens), journal=task.journal)
        opening = time.perf_counter()
        passes = Passes(task, tokens)

        def look(visit: Visit) -> int:
            seen = passes.statistics(visit, needs, keep_outputs=not visit.last)
            spill.add(visit.block, seen.sums, seen.grams)
            return 0

        with torch.no_grad():
            passes.visit("statistics", look)
        seconds = {"open": opening - start, "statistics": time.perf_counter() - opening}
        return _record(task, spill.inputs, needs, seconds), passes.spilled, spill


def _record(
    task: FolderTask,
    inputs: dict[str, InputRecord],
    needs: tuple[Need, ...],
    seconds: dict[str, float],
) -> StatisticsRecord:
    start, decoder = time.perf_counter(), task.decoder
    model = ModelRecord(
        name=task.source.name,
        blocks=len(decoder.structure.blocks),
        linears_sha256=linears_sha256(decoder),
        rest_sha256=rest_sha256(decoder),
        dequantised=task.source.dequantised,
    )
    decoder.checkpoint.check_unchanged()
    if task.evidence.calibration is None:
        raise InputError("stats", expected="text", found="none")
    skip = task.recipe.skip_first_tokens
    return StatisticsRecord(
        model=model,
        settings={"compute_dtype": dtype_name(decoder.dtype), "skip_first_tokens": skip},
        needs=needs,
        parts=PARTS,
        calibration=task.evidence.calibration,
        windows=window_hashes(task.evidence.tokens),
        inputs=inputs,
        device=str(decoder.device),
        versions=versions(),
        seconds=seconds | {"identity": time.perf_counter() - start},
    )


def _check_room(partial: Partial, task: FolderTask, needs: tuple[Need, ...]) -> None:
    """Refuse to start where the file, the same put aside before, spilled activations and the
    journal do not fit on the disk."""
    decoder, chosen, windows = task.decoder, task.chosen, task.evidence.tokens.values()
    tokens = sum(ids.numel() for ids in windows)
    output = sum(linear.columns for linear in chosen.linears()) * len(windows) * len(PARTS) * 8
    if "gram" in needs:
        dense = (linear for linear in chosen.linears() if linear.expert is None)
        output += gram_bytes(dense, decoder.dtype)
    spill = spilled_states(decoder, tokens, task.options.activation_memory)
    if task.journal.folder is not None:
        spill += journal_bytes(decoder, tokens, chosen)
    what, held = "the statistics and what is spilled on the way", partial.held
    check_disk_space(partial.path, 2 * output + spill, what, held=held)
