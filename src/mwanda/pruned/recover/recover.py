"""``mwanda recover``: the weights that a prune kept learn from the dense model."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from mwanda.errors import GateError, MwandaError
from mwanda.pruned.recover.record import (
    manifest_of,
    records_before,
    recovery_of,
    zeros_of_dense,
)
from mwanda.pruned.recover.settings import Settings
from mwanda.pruned.recover.targets import Targets, find_head, take_targets
from mwanda.pruned.recover.task import RecoverTask, check_room, open_task, text_of
from mwanda.pruned.recover.written import (
    complete,
    linear_records,
    round_as_written,
    write_weights,
)
from mwanda.pruned.zeros import keep_zeros
from mwanda.pruning.calibration_text import CalibrationInput
from mwanda.pruning.folder.manifest import Manifest, read_manifest
from mwanda.pruning.folder.manifest_records import RecoveryRecord
from mwanda.pruning.given_arguments import options_given, recipe_given
from mwanda.pruning.recipe.keywords import RecoverFields, with_fields
from mwanda.pruning.recipe.resolved import resolve
from mwanda.pruning.task import keeps_journal, ranks_for
from mwanda.system.arguments import path_given
from mwanda.system.device import NOWHERE, choose_device
from mwanda.system.extras import need
from mwanda.system.output import OutputFolder
from mwanda.system.ranks import joined, local_rank
from mwanda.system.run_options import RunOptions
from mwanda.system.shown import Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.text.languages import MULTIPLE

log = logging.getLogger("mwanda")


@dataclass(frozen=True, repr=False)
class RecoverResult(Shown):
    """What was written.

    Attributes:
        folder: where.
        manifest: what its ``mwanda.json`` holds; the last of its ``recoveries`` is this one.
    """

    folder: Path
    manifest: Manifest

    @property
    def recovery(self) -> RecoveryRecord:
        """What was learnt, from what, with which result."""
        return self.manifest.recoveries[-1]

    def _summary(self) -> str:
        made, weights = self.recovery, self.recovery.text.weights
        means = [
            sum(weights[tag] * getattr(one, when) for tag, one in made.held_out.items())
            for when in ("before", "after")
        ]
        return f"{self.folder}, {made.steps} steps, held out {means[0]:.4f} to {means[1]:.4f} nats"

    def _records(self) -> Sequence[Mapping[str, Any]]:
        return [
            {"language": tag, **one.model_dump()} for tag, one in self.recovery.held_out.items()
        ]


@speaking
@undisturbed()
@with_fields(RecoverFields)
def recover(
    model: str | Path,
    out: str | Path,
    *,
    dense: str | Path,
    calibration: CalibrationInput | None,
    steps: int | None = None,
    learning_rate: float | None = None,
    batch: int = Settings.batch,
    at_once: int | None = None,
    held_out: int | None = None,
    sampled: int = Settings.sampled,
    train_embeddings: bool = False,
    objective: str = Settings.objective,
    optimizer: str = Settings.optimizer,
    low_rank: int | None = None,
    gradient_checkpointing: bool = False,
    never_worse: bool = False,
    report_to: Sequence[str] = (),
    options: RunOptions | None = None,
    **fields: Unpack[RecoverFields],
) -> RecoverResult:
    """Let the kept weights and norms of a pruned model learn the dense model's next-token
    distribution in every language; zeros stay zero.

    The loss is the Kullback-Leibler divergence from the dense model, a mean over languages by
    weight. Windows of every language are held out; the state that does best on them is written.
    Only the model that learns is held in memory, in float32, with Adam's two states.

    Args:
        model: a folder with zeros in its linears, of mwanda or of another program.
        out: the folder to write, whole or not at all.
        dense: the model it was pruned from: a folder, GGUF file or hub id.
        calibration: text as :func:`mwanda.prune` takes it.
        steps: of the optimiser; None for four passes over the text, at most 300.
        learning_rate: the highest; it rises over the first steps and falls as a cosine. None for
            4e-5, or 4e-4 with ``low_rank``.
        batch: windows of one step, in which languages take turns.
        at_once: of them, windows of one forward; None for all. Fewer take less memory.
        held_out: windows of each language that are not learnt from; None for an eighth, at most 4.
        sampled: entries of the vocabulary that are drawn, beside the likely ones, to stand for all
            others; 0 compares the whole vocabulary.
        train_embeddings: embeddings and head learn too.
        objective: ``mean`` over languages by weight; ``worst``: languages that are behind take more
            turns, and the state is kept in which the worst of them has come furthest.
        optimizer: ``adam``, or ``adam-8bit``: its two states in a byte each, by bitsandbytes.
        low_rank: what learns of a linear is a product of this rank, added to its kept weights.
        gradient_checkpointing: blocks run twice, and keep less.
        never_worse: refuse a result in which a language is worse than before.
        report_to: what else is told of the progress: ``tensorboard``, ``wandb`` and whatever
            transformers' Trainer knows.
        options: how to run. A run that was cut off goes on from its last checkpoint.
        fields: of a recipe; ``window_length`` is 256, or the context, where it is not given.

    Raises:
        InputError: bad input: no zeros, another tokenizer or vocabulary than the dense model's, too
            little text, or a library that is not installed.
        GateError: with ``never_worse``, a language that ended worse than it began.
        MwandaError: nothing was gained on what was held out.
    """
    need("accelerate", "mwanda recover", "recover")
    if optimizer == "adam-8bit":
        need("bitsandbytes", "--optimizer adam-8bit", "recover-8bit")
    options, out = options_given(options), path_given("out", out)
    settings = Settings(
        steps=steps, learning_rate=learning_rate, batch=batch, at_once=at_once, held_out=held_out,
        sampled=sampled, train_embeddings=train_embeddings, objective=objective,
        optimizer=optimizer, low_rank=low_rank, gradient_checkpointing=gradient_checkpointing,
        never_worse=never_worse, report_to=tuple(report_to),
    )  # fmt: skip
    recipe = resolve(recipe_given(None, fields, "recover"))
    names = [str(path_given("model", model)), str(path_given("dense", dense))]
    ranks_for(names[1])
    several = ranks_for(names[0])
    settings.windows_at_once(several.size)
    output = OutputFolder(
        out, overwrite=options.overwrite, resume=keeps_journal(options, several),
        restart=options.restart,
    )  # fmt: skip
    for name in names if several.writes else ():
        output.check(source=Path(name) if Path(name).exists() else None)
    opened = text_of(calibration, recipe)
    with joined(choose_device(options.device, local_rank())) as ranks:
        with output if ranks.writes else nullcontext():
            ranks.wait()
            given = (opened, recipe, settings, options, output.partial, ranks)
            with open_task(names[0], names[1], *given) as task:
                _recover(task, output.partial.output)
        ranks.wait()
    if ranks.writes:
        log.info("wrote %s", out)
    return RecoverResult(out, read_manifest(out))


def _recover(task: RecoverTask, folder: Path) -> None:
    from mwanda.pruned.recover.learner import (
        Course,
        Learner,
        count_learning,
        learnt_names,
        matrices_of,
        sampled_of,
    )
    from mwanda.pruned.recover.low_rank import low_rank
    from mwanda.pruned.recover.training import Losses, Watch, teach
    from mwanda.pruned.recover.undisturbing import undisturbing

    start = time.perf_counter()
    pruned, dense, lessons = task.pruned.decoder, task.dense.decoder, task.lessons
    settings, options, seed = task.settings, task.options, task.recipe.seed
    places = {name: task.partial.work / name for name in ("targets", "checkpoints")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    ranks = task.ranks
    if ranks.writes:
        check_room(task, count_learning(pruned, settings))
    form, teacher = find_head(pruned, lessons.tokens), find_head(dense, lessons.tokens)
    form = replace(form, weight=form.weight.to(NOWHERE))  # the model's own, once it is whole
    likely = bool(sampled_of(settings, pruned.vocabulary))
    own = {tag: lessons.tokens[tag] for tag in ranks.share([*lessons.tokens])}
    take_targets(
        dense, own, teacher, places["targets"], ranks.rank, options, likely=likely,
        after=task.steps_in_blocks,
    )  # fmt: skip
    ranks.wait()
    task.journal.finished("targets", 1, None, last=True)
    source_zeros = {} if task.records else zeros_of_dense(task)
    targets, watched = Targets(places["targets"]), lessons.watched
    course = Course(watched, lessons.tokens, targets, seed=seed, likely=likely)
    watch = Watch(course, [tag for tag, _ in watched], lessons.weights, settings.batch)
    before = watch.before

    def told(step: int, losses: Losses) -> None:
        if not ranks.writes:
            return
        task.journal.finished("steps", step, None, last=True)
        _tell(step, task.steps, watch.mean(losses), losses, before)

    with pruned.whole(), ExitStack() as held:
        learner = Learner(pruned, form, teacher, task.products, settings)
        del teacher  # the learner may share its own
        names = learnt_names(pruned.model)
        records = records_before(task, source_zeros)
        kept = held.enter_context(
            keep_zeros(pruned.model, task.pruned.source.folder if task.records else None)
        )
        before |= watch.losses(learner, pruned.device)
        told(0, before)
        updates: AbstractContextManager[None] = nullcontext()
        if settings.low_rank is not None:
            updates = low_rank(pruned.model, matrices_of(pruned), settings.low_rank, seed)
        with updates, undisturbing(pruned.device, ranks.size):
            best = teach(
                learner, lessons, targets, watch, task.steps, settings, seed=seed, likely=likely,
                work=places["checkpoints"], decoder=pruned, processes=ranks.size,
                progress=options.progress, told=told,
            )  # fmt: skip
        if not ranks.writes:
            return
        round_as_written(pruned, names, task.dtype)
        kept.masks.apply()
        after = watch.losses(learner, pruned.device)
        _check(before, after, watch.mean(before), watch.mean(after), settings)
        learnt = write_weights(folder, pruned, names, task.dtype, options.max_shard_size)
        linears = linear_records(pruned, records, task.dtype)
    recovery = recovery_of(task, best, before, after, learnt, linears)
    manifest = manifest_of(task, linears, recovery)
    seconds = {**manifest.seconds, "recover": time.perf_counter() - start}
    manifest = manifest.model_copy(update={"seconds": seconds})
    complete(folder, task.pruned.source, manifest, task.dtype)


def _worse(before: Mapping[str, float], losses: Mapping[str, float]) -> list[str]:
    """Named languages that are further from the dense model than before."""
    return [tag for tag, loss in losses.items() if loss > before[tag] and tag != MULTIPLE]


def _tell(step: int, steps: int, mean: float, losses: Any, before: dict[str, float]) -> None:
    """One line of how far the model is from the dense one on what is held out."""
    each = ", ".join(f"{tag} {loss:.3f}" for tag, loss in losses.items())
    worse = _worse(before, losses)
    named = f"; worse than before: {', '.join(worse)}" if worse else ""
    log.info("step %d of %d: held out %.4f nats a token: %s%s", step, steps, mean, each, named)


def _check(
    before: dict[str, float],
    after: dict[str, float],
    mean_before: float,
    mean_after: float,
    settings: Settings,
) -> None:
    """Refuse a result that is no gain; name languages that lost."""
    if not mean_after < mean_before:
        raise MwandaError(
            "what is held out",
            expected=f"a model nearer to the dense one than the {mean_before:.4f} nats a token "
            "that it began with",
            found=f"{mean_after:.4f}",
            fix="lower --learning-rate, or give more text or steps",
        )
    worse = _worse(before, after)
    if not worse:
        return
    told = ", ".join(f"{tag} {before[tag]:.4f} to {after[tag]:.4f}" for tag in worse)
    if settings.never_worse:
        raise GateError(
            "--never-worse", expected="no language further from the dense model than before",
            found=told, fix="give these languages more text or weight, or lower --learning-rate",
        )  # fmt: skip
    log.warning("further from the dense model than before, in nats a token: %s", told)
