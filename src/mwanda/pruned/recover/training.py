"""The training itself: transformers' Trainer, with our loss, our windows and what is held out."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from mwanda.errors import MwandaError
from mwanda.model.run.decoder import Decoder
from mwanda.pruned.recover.learner import Course, Learner, together
from mwanda.pruned.recover.lessons import Lessons
from mwanda.pruned.recover.outcome import Losses
from mwanda.pruned.recover.rates import InputRates
from mwanda.pruned.recover.targets import Targets
from mwanda.pruned.recover.watch import Watch
from mwanda.pruning.recipe.recovery import Settings
from mwanda.system.device import computes_on_host
from mwanda.system.durable import put, sync
from mwanda.system.heap import trim
from mwanda.system.progress import Progress

log = logging.getLogger("mwanda")

LOOKS = 8
"""How often the windows held out are looked at, and the state kept."""

WARM_UP = 80
"""Windows over which the learning rate rises, or a tenth of all steps where those are fewer."""

TRIMMED = 8
"""Steps after which freed memory goes back to the system: every batch compares another part of the
vocabulary, and pieces of all sizes between those still held added up to 50 MB a step."""

STATE, BEST = "trainer_state.json", "best_model_checkpoint"
"""What the Trainer knows of itself in a checkpoint, and where that says the best one lies."""

WHOLE = "whole"
"""Empty, in a checkpoint whose files are all on the disk."""

MEAN, WORST = "eval_held_out", "eval_worst"
"""What the Trainer's log calls the mean of the languages' losses, each of them with its tag behind,
and the largest share of a loss that is left."""


class Teaching(Trainer):
    """A Trainer whose windows come in the order given, and which is judged on those held out."""

    def __init__(
        self, watch: Watch, device: torch.device, told: Callable[[int, Losses], None], **given: Any
    ) -> None:
        super().__init__(**given)
        self._watch, self._at, self._told = watch, device, told
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean divergence of the batch."""
        found = model(**inputs)
        return (found["loss"], found) if return_outputs else found["loss"]

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The divergence on what is held out, by language."""
        model = self.accelerator.unwrap_model(self.model)
        model.eval()
        losses = self._watch.agreed(model, self._at)
        metrics = {f"{MEAN}_{tag}": loss for tag, loss in losses.items()}
        metrics[MEAN] = self._watch.mean(losses)
        if not math.isfinite(metrics[MEAN]):
            raise MwandaError(
                "--learning-rate", expected="a divergence that stays finite",
                found=f"{metrics[MEAN]} on what is held out after step {self.state.global_step}",
                fix="begin anew with --restart and a lower one",
            )  # fmt: skip
        metrics[WORST] = max(self._watch.left(losses).values(), default=metrics[MEAN])
        self._told(self.state.global_step, losses)
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """What learns; the rest is on disk already."""
        learnt = {
            name: parameter.detach().contiguous()
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }
        super()._save(output_dir, learnt)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """What does not learn is in no checkpoint, on purpose."""


class _Steps(TrainerCallback):
    """Tells the progress, has the last state looked at too, and sees checkpoints on the disk."""

    def __init__(self, progress: Progress, tokens: int) -> None:
        self._progress, self._tokens = progress, tokens

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self._progress.block(self._tokens)
        if state.global_step % TRIMMED == 0:
            trim()
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            made = Path(args.output_dir, f"checkpoint-{state.global_step}")
            for path in made.iterdir():
                sync(path)
            put(made / WHOLE, b"")


class _Haste(TrainerCallback):
    """Gives languages that are behind more turns after each look: from the next step but one, as
    the next one's windows may have been taken. What was found is in the log, so that a run that
    goes on takes the same turns."""

    def __init__(
        self, course: Course, lessons: Lessons, watch: Watch, batch: int, seed: int
    ) -> None:
        self._course, self._lessons, self._watch = course, lessons, watch
        self._batch, self._seed = batch, seed

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._order(state.log_history)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._order(state.log_history)

    def _order(self, history: Sequence[Mapping[str, Any]]) -> None:
        changes = {}
        for row in history:
            if MEAN in row:
                losses = {tag: row[f"{MEAN}_{tag}"] for tag in self._watch.before}
                place = (row["step"] + 1) * self._batch
                changes[place] = self._lessons.behind(self._watch.left(losses))
        self._course.order = self._lessons.order(len(self._course), self._seed, changes)


class _Patience(TrainerCallback):
    """Ends the run where so many looks brought no gain.

    They are counted in the log, which every checkpoint holds: a run that goes on ends where an
    unbroken one does, also from a checkpoint at which it had ended.
    """

    def __init__(self, patience: int) -> None:
        self._patience, self._ended = patience, False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._ended = self._judge(args, state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self._ended:  # the Trainer stops after a step, which must not be looked at
            control.should_evaluate = control.should_save = False
        return control

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._judge(args, state, control) and state.is_world_process_zero:
            log.info("step %d: %d looks without gain, stopped", state.global_step, self._patience)

    def _judge(self, args: Any, state: Any, control: Any) -> bool:
        metric = args.metric_for_best_model
        looks = [row[metric] for row in state.log_history if metric in row]
        enough = bool(looks) and len(looks) - 1 - looks.index(min(looks)) >= self._patience
        control.should_training_stop |= enough
        return enough


def teach(
    learner: Learner,
    lessons: Lessons,
    targets: Targets,
    watch: Watch,
    steps: int,
    settings: Settings,
    *,
    seed: int,
    likely: bool,
    work: Path,
    decoder: Decoder,
    processes: int,
    progress: Progress,
    told: Callable[[int, Losses], None],
    rates: InputRates | None,
) -> int:
    """Let the model learn; it ends in the state that did best on what is held out.

    Args:
        work: folder for checkpoints, from the last of which a later run goes on.
        decoder: whose weights learn.
        processes: that share every batch.
        told: is given the number of steps, and every language's loss, at each look.
        rates: of the inputs of linears; None for one rate.

    Returns:
        The step of that state.
    """
    order = lessons.order(steps * settings.batch, seed)
    course = Course(order, lessons.tokens, targets, seed=seed, likely=likely)
    at_once, device = settings.windows_at_once(processes), decoder.device
    look = max(1, -(-steps // LOOKS))
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=settings.batch // (at_once * processes),
        learning_rate=settings.learning_rate,
        **({} if settings.optimizer == "adam" else {"optim": "adamw_8bit"}),
        lr_scheduler_type="cosine",
        warmup_steps=min(-(-WARM_UP // settings.batch), steps // 10),
        weight_decay=0.0,
        use_cpu=computes_on_host(device),
        seed=seed,
        eval_strategy="steps",
        eval_steps=look,
        save_strategy="steps",
        save_steps=look,
        save_total_limit=2,  # the best and the last
        load_best_model_at_end=True,
        metric_for_best_model=WORST if settings.objective == "worst" else MEAN,
        greater_is_better=False,
        logging_steps=look,
        report_to=list(settings.report_to),
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        # An expert to which no token of this process went has no gradient.
        ddp_find_unused_parameters=any(one.expert for one in decoder.structure.linears()),
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # windows are not spread over devices
    found = _last_checkpoint(work)
    progress.stage("recover", steps, 0 if found is None else step_of(found), unit="step")
    length = max(ids.shape[1] for ids in lessons.tokens.values())
    callbacks: list[TrainerCallback] = [_Steps(progress, settings.batch * length)]
    if rates is not None:
        callbacks.append(rates)
    if settings.objective == "worst":
        callbacks.append(_Haste(course, lessons, watch, settings.batch, seed))
    if settings.patience is not None:
        callbacks.append(_Patience(settings.patience))
    with torch.enable_grad():
        trainer = Teaching(
            watch, device, told, model=learner, args=arguments, train_dataset=course,
            eval_dataset=watch.course, data_collator=together,
            callbacks=callbacks,
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=None if found is None else str(found))
    return int(trainer.state.best_global_step or steps)


def _last_checkpoint(work: Path) -> Path | None:
    """The last checkpoint that was finished, its state told where the best one lies: the Trainer
    keeps whole paths, and the folder may have been moved since."""
    made = [path.parent for path in work.glob(f"checkpoint-*/{WHOLE}")]
    found = max(made, key=step_of, default=None)
    if found is not None:
        state = json.loads((found / STATE).read_text(encoding="utf-8"))
        if state[BEST] is not None:
            state[BEST] = str(work / Path(state[BEST]).name)
            put(found / STATE, json.dumps(state).encode())
    return found


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was made after."""
    return int(checkpoint.name.partition("-")[2])
