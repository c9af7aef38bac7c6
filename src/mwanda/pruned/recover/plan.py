"""What a recovery would take, read off config, headers and text: nothing is learnt or written."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import torch

from mwanda.model.opening import open_decoder, source_dtype
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.source import open_model
from mwanda.pruned.recover.divergence import positions_at_once
from mwanda.pruned.recover.learner import (
    count_learning,
    heads_kept,
    once_a_forward,
    sampled_of,
)
from mwanda.pruned.recover.lessons import held_out_of
from mwanda.pruned.recover.matching import check_zeros
from mwanda.pruned.recover.saved_memory import saved_bytes
from mwanda.pruned.recover.targets import LIKELY, SPREAD
from mwanda.pruned.recover.task import (
    default_length,
    disk_needed,
    learning_dtype,
    products_of,
    text_of,
)
from mwanda.pruning.calibration_text import CalibrationInput, calibration_languages, weights_of
from mwanda.pruning.folder.manifest import find_manifest
from mwanda.pruning.forecast.memory import RUNTIME, process_memory
from mwanda.pruning.forecast.operations import Work, block_flops, matmul_rate
from mwanda.pruning.forecast.plan import shapes_of
from mwanda.pruning.forecast.planned import products_alone
from mwanda.pruning.given_arguments import options_given
from mwanda.pruning.recipe.keywords import RecoverFields, recovery_given, with_fields
from mwanda.pruning.recipe.recovery import Settings, steps_in_words
from mwanda.system.arguments import path_given
from mwanda.system.device import (
    choose_compute_dtype,
    choose_device,
    computes_on_host,
    dtype_name,
)
from mwanda.system.run_options import RunOptions
from mwanda.system.shown import Sheet, Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.text.languages import MULTIPLE
from mwanda.text.window_files import Windows

DISTINCT = 6
"""Likely entries of the vocabulary for every token of a batch, those that are alike counted once;
measured: 1,500 for 256 tokens of one language, 11,000 for 2048 in 15."""

LOOKED = 10
"""How often the windows held out are looked at: before, after, and meanwhile."""


@dataclass(frozen=True, repr=False)
class RecoverPlan(Shown):
    """The shape and the cost of a recovery.

    Attributes:
        model: as the user named it.
        languages: that are learnt from; windows and tokens are those of background text too.
        windows, held_out: of all languages: learnt from, and held out; those of languages
            without weight are not learnt from.
        tokens: of all windows.
        steps, batch: of the optimiser; ``at_once`` of a batch's windows go through one forward.
        learning: numbers that learn; of ``weights`` of the model.
        flops: floating-point operations of all steps, looks at what is held out, and the dense
            model's pass.
        matmul_rate: operations per second of this machine on the model's largest matrix, measured
            now.
        compute_seconds: what the operations take at that rate: a recovery cannot be faster.
        states: bytes of weights, gradients and the optimiser's states.
        saved: bytes that a forward keeps for its backward pass, None where the model's class does
            not let them be counted.
        anonymous: predicted peak memory in bytes, without mapped files.
        device_memory: of an accelerator, beside that; None where the CPU computes.
        disk: bytes that must be free.
        compute_dtype: of the products.
    """

    model: str
    languages: tuple[str, ...]
    windows: int
    held_out: int
    tokens: int
    steps: int
    batch: int
    at_once: int
    learning: int
    weights: int
    flops: int
    matmul_rate: float
    compute_seconds: float
    states: int
    saved: int | None
    anonymous: int
    device_memory: int | None
    disk: int
    compute_dtype: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def _summary(self) -> str:
        return (
            f"{self.model}, {steps_in_words(self.steps, self.batch)}, {self.learning:,} of "
            f"{self.weights:,} numbers learn, {', '.join(self.languages)}"
        )

    def table(self) -> list[list[str]]:
        """What there is and its amount, in words."""
        there = self.device_memory
        parts = f", {self.at_once} at once" if self.at_once < self.batch else ""
        saved = "not known" if self.saved is None else f"{self.saved / 1e9:.2f} GB"
        return [
            ["languages", f"{len(self.languages):,}"],
            ["windows to learn from", f"{self.windows:,}"],
            ["windows held out", f"{self.held_out:,}"],
            ["tokens of all", f"{self.tokens:,}"],
            ["learning", steps_in_words(self.steps, self.batch) + parts],
            ["numbers that learn", f"{self.learning:,} of {self.weights:,}"],
            ["matrix work", f"{self.flops / 1e12:,.1f} TFLOP in {self.compute_dtype}"],
            ["matrix products alone", products_alone(self.compute_seconds, self.matmul_rate)],
            ["weights, gradients, states", f"{self.states / 1e9:.2f} GB"],
            ["kept for the backward pass", saved],
            ["peak memory, anonymous", f"{self.anonymous / 1e9:.2f} GB"],
            *([] if there is None else [["peak memory, accelerator", f"{there / 1e9:.2f} GB"]]),
            ["free disk needed", f"{self.disk / 1e9:.2f} GB"],
        ]  # fmt: skip

    def _sheet(self) -> Sheet:
        return Sheet(["", ""], self.table())

    def _records(self) -> list[dict[str, Any]]:
        return [self.as_dict() | {"languages": ", ".join(self.languages)}]


@speaking
@undisturbed()
@with_fields(RecoverFields)
def plan_recover(
    model: str | Path,
    *,
    calibration: CalibrationInput | None,
    options: RunOptions | None = None,
    **fields: Unpack[RecoverFields],
) -> RecoverPlan:
    """Describe a recovery of one process without doing it; the dense model is taken to have the
    pruned one's shape.

    Args:
        model: the pruned folder.
        calibration, options, fields: as :func:`mwanda.recover` takes them. Steps that ``patience``
            may save are counted; ``never_worse`` and ``report_to`` change nothing here.

    Raises:
        InputError: bad input, no zeros, or too little text.
    """
    options = options_given(options)
    settings, recipe = recovery_given(fields)
    name = str(path_given("model", model))
    text = text_of(calibration, recipe)
    exact, device = replace(options, compute_dtype="float32"), choose_device(options.device)
    with (
        open_model(name, trust_remote_code=options.trust_remote_code) as source,
        open_decoder(source, exact, shape_for=device) as decoder,
    ):
        check_zeros(name, decoder, find_manifest(source.folder))
        recipe = default_length(recipe, decoder.context_length)
        languages = calibration_languages(text, recipe)
        shapes = shapes_of(None, text, languages, decoder, recipe, options)
        # Background text, where there is any, comes after the languages.
        tags = [*languages, MULTIPLE]
        sizes = {tag: n for tag, (n, _) in zip(tags, shapes, strict=False)}
        told = text.source if isinstance(text, Windows) else text.name
        held, shares = held_out_of(told, sizes, settings.held_out), weights_of(recipe, [*sizes])
        out, taught = sum(held.values()), [tag for tag in sizes if shares[tag] > 0]
        learnt = sum(sizes[tag] - held[tag] for tag in taught)
        length = max(length for _, length in shapes)
        tokens = sum(n * length for n, length in shapes)
        steps, at_once = settings.steps_for(learnt), settings.windows_at_once(1)
        products, stored = products_of(decoder, options, device), source_dtype(decoder.checkpoint)
        dense_dtype = choose_compute_dtype(learning_dtype(options), stored, device)
        learning = count_learning(decoder, settings)
        saved = saved_bytes(decoder, (at_once, length), trust_remote_code=options.trust_remote_code)
        mean = tokens // sum(sizes.values())
        flops = _flops(decoder, settings, steps, mean, tokens, out)
        linear = max(decoder.structure.linears(), key=lambda one: one.size)
        work = Work(tokens, 0, flops, 0, 0, 0, (linear.columns, linear.rows))
        rate = matmul_rate(work, at_once * length, products, device)
        weights = sum(parameter.numel() for parameter in decoder.model.parameters())
        states = _states(settings, weights, learning)
        whole = None if saved is None else sum(saved)
        if saved is not None and settings.gradient_checkpointing:
            width = int(decoder.model.get_input_embeddings().weight.shape[1])
            whole = at_once * length * width * 4 * len(saved) + max(saved)
        heads = _heads(decoder, settings, products, at_once * length)
        rows = _rows(decoder, settings, at_once * length)
        logits = 4 * rows * min(at_once * length, positions_at_once(rows, 4))
        # A step of the optimizer copies the weights when what a forward keeps is gone again.
        copied = 0 if settings.low_rank else 4 * learning
        merged = _merged(decoder, settings, products) if settings.low_rank else 0
        peak = states + heads + max((whole or 0) + merged + 4 * logits, copied)
        here = computes_on_host(device)
        host = peak if here else _passing(decoder, learning)
        return RecoverPlan(
            model=name, languages=tuple(languages), windows=learnt, held_out=out,
            tokens=tokens, steps=steps, batch=settings.batch, at_once=at_once, learning=learning,
            weights=weights, flops=flops, matmul_rate=rate, compute_seconds=flops / rate,
            states=states, saved=whole, device_memory=None if here else peak,
            anonymous=process_memory().anonymous + host + RUNTIME,
            disk=disk_needed(decoder, dense_dtype, recipe, tokens, learning),
            compute_dtype=dtype_name(products),
        )  # fmt: skip


def _flops(
    decoder: StreamedDecoder, settings: Settings, steps: int, length: int, tokens: int, held: int
) -> int:
    """Operations: a backward pass is two forwards, and blocks that run twice a third one more.

    Args:
        length: of a window, on average.
        tokens: of all windows.
        held: windows held out.
    """
    blocks, width = len(decoder.blocks), decoder.model.get_input_embeddings().weight.shape[1]
    forward = block_flops(decoder, blocks, length)
    # Both models' logits, and the gradient of the hidden states.
    head = 2 * int(width) * _rows(decoder, settings, settings.windows_at_once(1) * length)
    passes = 4 if settings.gradient_checkpointing else 3
    each = passes * forward + (4 if settings.train_embeddings else 3) * head
    looked = LOOKED * held * length
    # The dense model's pass compares one position of a few with the whole vocabulary.
    dense = forward + 2 * int(width) * decoder.vocabulary // SPREAD
    return steps * settings.batch * length * each + looked * (forward + 2 * head) + tokens * dense


def _rows(decoder: StreamedDecoder, settings: Settings, tokens: int) -> int:
    """Entries of the vocabulary that are compared."""
    sampled = sampled_of(settings, decoder.vocabulary)
    if not sampled:
        return decoder.vocabulary
    return min(decoder.vocabulary, sampled + min(DISTINCT, LIKELY) * tokens)


def _heads(decoder: StreamedDecoder, settings: Settings, products: torch.dtype, tokens: int) -> int:
    """Bytes of heads beside the weights: those kept whole, what is made of them for a batch, and
    the gradient of one that learns.

    Args:
        tokens: of a forward.
    """
    width = int(decoder.model.get_input_embeddings().weight.shape[1])
    rows, learns = _rows(decoder, settings, tokens), settings.train_embeddings
    kept = heads_kept(settings, products)
    if sampled_of(settings, decoder.vocabulary):
        made = 2 * rows
    else:  # a head that stays is used as it is kept
        made = rows if learns and products != torch.float32 else 0
    narrow = (kept * decoder.vocabulary + made) * products.itemsize
    return width * (narrow + (rows * torch.float32.itemsize if learns else 0))


def _merged(decoder: StreamedDecoder, settings: Settings, products: torch.dtype) -> int:
    """Bytes of weights with their low-rank updates, which a backward pass needs: as the products
    take them, with the masks. Blocks that run twice make those of one block at a time."""
    once = once_a_forward(decoder, settings) and products != torch.float32
    each = products.itemsize + torch.bool.itemsize + (torch.float32.itemsize if once else 0)
    blocks = [sum(one.size for one in block.linears) for block in decoder.structure.blocks]
    return each * (max(blocks) if settings.gradient_checkpointing else sum(blocks))


def _passing(decoder: StreamedDecoder, learning: int) -> int:
    """Bytes on the host of what is on its way to an accelerator, a tensor as stored and in float32,
    and from it, the learnt ones of a checkpoint."""
    size = source_dtype(decoder.checkpoint).itemsize + 4
    largest = max(parameter.numel() for parameter in decoder.model.parameters())
    return size * int(largest) + 4 * learning


def _states(settings: Settings, weights: int, learning: int) -> int:
    """Bytes of float32 weights, gradients, and the optimiser's two states."""
    factors = learning if settings.low_rank is not None else 0
    return 4 * (weights + factors) + learning * (4 + (2 if settings.optimizer != "adam" else 8))
