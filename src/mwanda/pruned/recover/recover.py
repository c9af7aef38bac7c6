"""``mwanda recover``: the weights that a prune kept learn from the dense model."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from mwanda.pruned.recover.matching import check_more_zeros, known_pruned
from mwanda.pruned.recover.outcome import Losses, check_gain, check_start, tell, tell_rate
from mwanda.pruned.recover.record import (
    manifest_of,
    records_before,
    recovery_of,
    zeros_of_dense,
)
from mwanda.pruned.recover.targets import Targets, find_head, take_targets
from mwanda.pruned.recover.task import (
    RecoverTask,
    check_room,
    learning_dtype,
    open_task,
    text_of,
)
from mwanda.pruned.recover.trainer_checks import check_settings
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
from mwanda.pruning.given_arguments import options_given
from mwanda.pruning.recipe.keywords import RecoverFields, recovery_given, with_fields
from mwanda.pruning.task import keeps_journal, ranks_for
from mwanda.system.arguments import path_given
from mwanda.system.device import NOWHERE, choose_device
from mwanda.system.extras import need
from mwanda.system.output import OutputFolder
from mwanda.system.ranks import joined, local_rank
from mwanda.system.refusals import named_memory
from mwanda.system.run_options import RunOptions
from mwanda.system.shown import Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed

log = logging.getLogger("mwanda")

LESS_MEMORY = (
    "take less with --gradient-checkpointing, --optimizer adam-8bit, --low-rank, a shorter "
    "--window-length or, of a batch, --at-once 1; mwanda recover --plan says what each needs"
)
"""What to do where a model does not fit as it learns."""


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
        options: how to run. A run that was cut off goes on from its last checkpoint.
        fields: settings, and of a recipe those of text and ``dtype``; ``window_length`` is 256, or
            the context, where it is not given. With ``objective="worst"`` the state is kept in
            which the worst language has come furthest. There are up to eight looks in a run, which
            ``patience`` counts. TensorBoard's files go into ``OUT.runs`` beside the output, or
            where ``TENSORBOARD_LOGGING_DIR`` says.

    Raises:
        InputError: bad input: no zeros, another tokenizer or vocabulary than the dense model's, too
            little text, a library that is not installed, or weights that accelerate would split.
        GateError: with ``never_worse``, a language that ended worse than it began.
        MwandaError: nothing was gained on what was held out.
    """
    need("accelerate", "mwanda recover", "recover")
    options, out = options_given(options), path_given("out", out)
    settings, recipe = recovery_given(fields)
    check_settings(settings)
    learning_dtype(options)
    names = [str(path_given("model", model)), str(path_given("dense", dense))]
    ranks_for(names[1])
    several = ranks_for(names[0])
    settings = settings.among(several.size)
    settings.windows_at_once(several.size)
    output = OutputFolder(
        out, overwrite=options.overwrite, resume=keeps_journal(options, several),
        restart=options.restart,
    )  # fmt: skip
    for name in names if several.writes else ():
        output.check(Path(name))
    opened = text_of(calibration, recipe)
    with joined(choose_device(options.device, local_rank())) as ranks:
        with output if ranks.writes else nullcontext():
            ranks.wait()
            given = (opened, recipe, settings, options, output.partial, ranks)
            with open_task(names[0], names[1], *given) as task:
                runs = output.target.with_name(f"{output.target.name}.runs")
                _recover(task, output.partial.output, runs)
        ranks.wait()
    if ranks.writes:
        log.info("wrote %s", out)
    return RecoverResult(out, read_manifest(out))


def _recover(task: RecoverTask, folder: Path, runs: Path) -> None:
    from mwanda.pruned.recover.learner import (
        Course,
        Learner,
        count_learning,
        learnt_names,
        matrices_of,
        sampled_of,
    )
    from mwanda.pruned.recover.low_rank import low_rank
    from mwanda.pruned.recover.rates import InputRates, input_rates
    from mwanda.pruned.recover.training import teach
    from mwanda.pruned.recover.undisturbing import undisturbing
    from mwanda.pruned.recover.watch import Watch

    start = time.perf_counter()
    pruned, dense, lessons = task.pruned.decoder, task.dense.decoder, task.lessons
    settings, options, seed = task.settings, task.options, task.recipe.seed
    places = {name: task.partial.work / name for name in ("targets", "checkpoints")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    ranks = task.ranks
    if ranks.writes:
        check_room(task, count_learning(pruned, settings))
    source_zeros = {} if known_pruned(task.manifest) else zeros_of_dense(task)
    if not known_pruned(task.manifest):
        check_more_zeros(task.pruned.source.name, pruned, dense, source_zeros)
    form, teacher = find_head(pruned, lessons.tokens), find_head(dense, lessons.tokens)
    form = replace(form, weight=form.weight.to(NOWHERE))  # the model's own, once it is whole
    likely = bool(sampled_of(settings, pruned.vocabulary))
    take_targets(
        dense, lessons.tokens, teacher, places["targets"], ranks, options, likely=likely,
        after=task.steps_in_blocks,
    )  # fmt: skip
    ranks.wait()
    task.journal.finished("targets", 1, None, last=True)
    targets, watched = Targets(places["targets"], ranks.size), lessons.watched
    course = Course(watched, lessons.tokens, targets, seed=seed, likely=likely)
    watch = Watch(course, [tag for tag, _ in watched], lessons.weights, ranks=ranks)
    before = watch.before

    def told(step: int, losses: Losses) -> None:
        if not ranks.writes:
            return
        task.journal.finished("steps", step, None, last=True)
        tell(step, task.steps, watch.mean(losses), losses, before)

    with named_memory(LESS_MEMORY), pruned.whole(), ExitStack() as held:
        learner = Learner(pruned, form, teacher, task.products, settings)
        del teacher  # the learner may share its own
        names = learnt_names(pruned.model)
        records = records_before(task, source_zeros)
        kept = held.enter_context(
            keep_zeros(pruned.model, task.pruned.source.folder if task.records else None)
        )
        rates: InputRates | None = None

        def look() -> None:
            before.update(watch.agreed(learner, pruned.device))

        if settings.low_rank is None:
            rates = input_rates(pruned, look, ranks)
        else:
            look()
        told(0, before)
        mean = watch.mean(before)
        check_start(before, mean)
        settings = settings.starting(mean)
        if ranks.writes:
            tell_rate(task.settings, settings, mean)
        task = replace(task, settings=settings)
        updates: AbstractContextManager[None] = nullcontext()
        if settings.low_rank is not None:
            updates = low_rank(pruned.model, matrices_of(pruned), settings.low_rank, seed)
        with updates, undisturbing(pruned.device, ranks.size, runs):
            best = teach(
                learner, lessons, targets, watch, task.steps, settings, seed=seed, likely=likely,
                work=places["checkpoints"], decoder=pruned, processes=ranks.size,
                progress=options.progress, told=told, rates=rates,
            )  # fmt: skip
        if not ranks.writes:
            return
        round_as_written(pruned, names, task.dtype)
        kept.masks.apply()
        after = watch.losses(learner, pruned.device)
        check_gain(before, after, watch.mean(before), watch.mean(after), settings)
        learnt = write_weights(folder, pruned, names, task.dtype, options.max_shard_size)
        linears = linear_records(pruned, records, task.dtype)
    recovery = recovery_of(task, best, before, after, learnt, linears)
    manifest = manifest_of(task, linears, recovery)
    seconds = {**manifest.seconds, "recover": time.perf_counter() - start}
    manifest = manifest.model_copy(update={"seconds": seconds})
    complete(folder, task.pruned.source, manifest, task.dtype)
