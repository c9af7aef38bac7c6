"""A recovery about to run: two models opened and found to fit, and the text cut into windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.model.opening import open_decoder, source_dtype
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.source import open_model
from mwanda.pruned.recover.lessons import Lessons
from mwanda.pruned.recover.matching import Side, check_zeros, common_tokenizer, warn_of_another
from mwanda.pruned.recover.outcome import warn_of_many_passes
from mwanda.pruned.recover.targets import LIKELY
from mwanda.pruning.calibration_text import (
    CalibrationInput,
    get_windows,
    open_calibration,
    weights_of,
)
from mwanda.pruning.folder.known_text import known_in_folder
from mwanda.pruning.folder.manifest import Manifest, find_manifest, versions
from mwanda.pruning.folder.manifest_records import CalibrationRecord, LinearRecord
from mwanda.pruning.folder.weight_sink import written_dtype
from mwanda.pruning.journal import Journal
from mwanda.pruning.recipe.recovery import Settings
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.pruning.task import base_files, keeps_journal
from mwanda.system.device import choose_compute_dtype, device_kind, dtype_name, parse_dtype
from mwanda.system.files import check_disk_space, hash_files
from mwanda.system.ranks import Ranks
from mwanda.system.run_options import RunOptions
from mwanda.system.unfinished import Partial
from mwanda.text.text_source import TextSource
from mwanda.text.window_files import Windows, window_sha256

LENGTH = 256
"""Tokens of a window by default, where the context has as many."""


@dataclass(frozen=True)
class RecoverTask:
    """What decides the result of a recovery.

    Attributes:
        manifest: of the pruned folder; None for one that has none.
        products: dtype of the products while learning.
        steps: of the optimiser.
        ranks: the processes that share the work.
        journal: beside the output, by which a later run goes on.
    """

    pruned: Side
    dense: Side
    manifest: Manifest | None
    lessons: Lessons
    text: CalibrationRecord
    recipe: ResolvedRecipe
    settings: Settings
    options: RunOptions
    products: torch.dtype
    steps: int
    partial: Partial
    ranks: Ranks
    journal: Journal

    @property
    def records(self) -> dict[str, LinearRecord]:
        """Of the pruned linears; none where another program pruned."""
        return {} if self.manifest is None else self.manifest.linears

    @property
    def dtype(self) -> torch.dtype | None:
        """What is written; None for what the pruned model has."""
        return parse_dtype(self.recipe.dtype, "--dtype")

    @property
    def steps_in_blocks(self) -> float:
        """All steps, in blocks of the dense model's pass: a step goes forward once, and back as if
        twice."""
        tokens = self.lessons.tokens.values()
        learnt = 3 * self.steps * self.settings.batch * max(ids.shape[1] for ids in tokens)
        blocks = self.dense.decoder.structure.blocks
        return learnt * len(blocks) / sum(ids.numel() for ids in tokens)


@contextmanager
def open_task(
    model: str,
    dense: str,
    opened: TextSource | Windows,
    recipe: ResolvedRecipe,
    settings: Settings,
    options: RunOptions,
    partial: Partial,
    ranks: Ranks,
) -> Iterator[RecoverTask]:
    """Open both models and cut the text.

    Raises:
        InputError: models that do not fit one another, no zeros, or too little text.
    """
    with ExitStack() as stack:
        # What learns is kept in float32; the other one runs as any forward does.
        exact = replace(options, compute_dtype="float32")
        pruned = _open(stack, model, exact, partial)
        known_in_folder(pruned.source.folder)  # a damaged record is told before the work
        other = _open(stack, dense, options, partial)
        if ranks.size == 1 and pruned.decoder.device.index:
            raise InputError(
                "--device", expected="the first that is visible", found=options.device,
                fix="let no other be seen, of cuda by CUDA_VISIBLE_DEVICES",
            )  # fmt: skip
        manifest = find_manifest(pruned.source.folder)
        check_zeros(model, pruned.decoder, manifest)
        tokenizer = common_tokenizer(pruned, other, options)
        warn_of_another(model, dense, manifest, other)
        shorter = min((pruned.decoder, other.decoder), key=lambda one: one.context_length or 1e9)
        if not isinstance(opened, Windows):
            recipe = default_length(recipe, shorter.context_length)
        windows = get_windows(opened, lambda: tokenizer, shorter, recipe, options)
        weights = weights_of(recipe, [*windows.tokens])
        lessons = Lessons.of(windows, weights, settings.held_out)
        steps = settings.steps_for(sum(lessons.taking_turns.values()))
        if ranks.writes:
            warn_of_many_passes(lessons.passes(steps * settings.batch))
        products = products_of(pruned.decoder, options, pruned.decoder.device)

        def fingerprint() -> Mapping[str, Any]:
            return {
                "job": "recovery",
                "settings": settings.recorded(),
                "steps": steps,
                "held_out": dict(lessons.held_out),
                "dtype": recipe.dtype,
                "seed": recipe.seed,
                "pruned": dict(pruned.files),
                "dense": dict(other.files),
                "windows": {tag: window_sha256(ids) for tag, ids in lessons.tokens.items()},
                "weights": dict(weights),
                "device": device_kind(pruned.decoder.device),
                "compute_dtype": dtype_name(products),
                "dense_dtype": dtype_name(other.decoder.dtype),
                "batch_tokens": options.batch_tokens,
                "threads": torch.get_num_threads(),
                "versions": versions(),
            }

        yield RecoverTask(
            pruned=pruned, dense=other, manifest=manifest, lessons=lessons,
            text=CalibrationRecord.of(windows, weights), recipe=recipe, settings=settings,
            options=options, products=products, steps=steps, partial=partial, ranks=ranks,
            journal=Journal(partial.work if keeps_journal(options, ranks) else None, fingerprint),
        )  # fmt: skip


def text_of(calibration: CalibrationInput | None, recipe: ResolvedRecipe) -> TextSource | Windows:
    """The text to learn from.

    Raises:
        InputError: none.
    """
    opened = None if calibration is None else open_calibration(calibration, recipe)
    if opened is None:
        raise InputError("--calibration", expected="text to learn from", found="none")
    return opened


def default_length(recipe: ResolvedRecipe, context: int | None) -> ResolvedRecipe:
    """With a length of windows, where none was asked for.

    Args:
        context: of the model, in tokens.
    """
    if "window_length" in recipe.model_fields_set:
        return recipe
    length = min(LENGTH, context or LENGTH)
    return recipe.model_copy(update={"window_length": length})


def check_room(task: RecoverTask, learnt: int) -> None:
    """Refuse to start where output, targets and checkpoints do not fit on the disk.

    Args:
        learnt: numbers that learn.
    """
    tokens = sum(ids.numel() for ids in task.lessons.tokens.values())
    dtype = task.dense.decoder.dtype
    needed = disk_needed(task.pruned.decoder, dtype, task.recipe, tokens, learnt)
    held = task.partial.held if task.journal.resumed else 0
    check_disk_space(
        task.partial.path, needed, "the recovered model and its checkpoints", held=held
    )


def disk_needed(
    decoder: StreamedDecoder, dense: torch.dtype, recipe: ResolvedRecipe, tokens: int, learnt: int
) -> int:
    """Bytes of output, targets and checkpoints.

    Args:
        dense: dtype that the dense model computes in.
        tokens: of all windows.
        learnt: numbers that learn.
    """
    asked = parse_dtype(recipe.dtype, "--dtype")
    needed = sum(
        info.nbytes // info.dtype.itemsize * written_dtype(info.dtype, asked).itemsize
        for info in decoder.checkpoint.tensors.values()
    )
    width = int(decoder.model.get_input_embeddings().weight.shape[1])
    # Hidden states as they are made and as they are kept, and the likely tokens.
    needed += tokens * (width * dense.itemsize * 2 + 4 * LIKELY)
    # The best, the last and the next checkpoint, each with Adam's states.
    return needed + 3 * 3 * 4 * learnt


def _open(stack: ExitStack, name: str, options: RunOptions, partial: Partial) -> Side:
    trusted = options.trust_remote_code
    source = stack.enter_context(open_model(name, partial.scratch, trust_remote_code=trusted))
    decoder = stack.enter_context(open_decoder(source, options))
    paths = base_files(source, decoder.checkpoint, code=trusted)
    return Side(source, decoder, {path.name: sha for path, sha in hash_files(paths).items()})


def products_of(decoder: StreamedDecoder, options: RunOptions, device: torch.device) -> torch.dtype:
    """What products run in on a device while weights are float32: float16 would need scaling."""
    wanted, source = learning_dtype(options), source_dtype(decoder.checkpoint)
    narrow = source in (torch.bfloat16, torch.float16)
    return choose_compute_dtype(wanted, torch.bfloat16 if narrow else torch.float32, device)


def learning_dtype(options: RunOptions) -> torch.dtype | None:
    """The dtype of products that was asked for.

    Raises:
        InputError: one wider than the weights that learn, or float16.
    """
    wanted = parse_dtype(options.compute_dtype, "--compute-dtype")
    if wanted in (torch.float16, torch.float64):
        raise InputError(
            "--compute-dtype", expected="float32 or bfloat16, to learn in", found=dtype_name(wanted)
        )
    return wanted
