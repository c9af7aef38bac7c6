"""Greedy decoding of prompts of different lengths, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.model.run.context import context_of
from mwanda.model.run.plain_outputs import PlainOutputs


@torch.no_grad()
def continue_ids(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    bounds: Sequence[int],
    *,
    batch: int = 8,
    done: Callable[[int], None] = lambda _tokens: None,
    one_line: bool = False,
) -> list[list[int]]:
    """The model's own greedy continuation of each prompt.

    Prompts of like length share a batch, filled up on the left, so that every prompt ends where
    generation begins. In exact arithmetic no row would depend on the others.

    Args:
        model: a causal model in memory.
        prompts: token ids, the start of a text and all.
        bounds: most new tokens, for each prompt.
        batch: prompts in one forward.
        done: is told after each batch how many tokens were made.
        one_line: a row ends with the first token that has a line feed in it; that token is kept.

    Returns:
        New ids for each prompt, without what ended it.
    """
    device = next(model.parameters()).device
    stops, filling = endings(model)
    order = sorted(range(len(prompts)), key=lambda place: (-len(prompts[place]), place))
    found: dict[int, list[int]] = {}
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        width = max(len(prompts[row]) for row in rows)
        ids = torch.full((len(rows), width), filling, device=device)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, width - len(prompts[row]) :] = torch.tensor(prompts[row], device=device)
            mask[place, width - len(prompts[row]) :] = 1
        longest = max(bounds[row] for row in rows)
        output = greedy(
            model,
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=longest,
            pad_token_id=filling,
            stopping_criteria=_criteria(tokenizer, width, [bounds[row] for row in rows], one_line),
        )
        for row, made in zip(rows, output[:, width:].tolist(), strict=True):
            # A row that ended before the others is filled up; the bound cuts that off where there
            # is no other end.
            new = list(takewhile(lambda token: token not in stops, made[: bounds[row]]))
            found[row] = _one_line(tokenizer, new) if one_line else new
        done(sum(len(found[row]) for row in rows))
    return [found[row] for row in range(len(prompts))]


def greedy(model: Any, **given: Any) -> torch.Tensor:
    """Token ids of one greedy continuation a row, whatever else its configs ask for."""
    tokens = given["input_ids"].shape[1] + given["max_new_tokens"]
    with _in_context(model, tokens), PlainOutputs(model)(), _likeliest(model):
        output: torch.Tensor = model.generate(**given)
    return output


@contextmanager
def _likeliest(model: Any) -> Iterator[None]:
    """Nothing but the ends of a text is taken from what the model's generation config asks for: a
    penalty or a ban of repetition there would hide what is looked for."""
    from transformers import GenerationConfig

    asked = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=asked.eos_token_id)
    try:
        yield
    finally:
        model.generation_config = asked


@contextmanager
def _in_context(model: Any, tokens: int) -> Iterator[None]:
    """Refuse what fails because it is longer than the model's context; rotary positions go on.

    Args:
        tokens: of the prompt and of what may come after it.
    """
    try:
        yield
    except (IndexError, RuntimeError) as error:
        context = context_of(model)
        if context is None or tokens <= context:
            raise
        raise InputError(
            type(model).__name__,
            expected=f"prompt and continuation within the model's context of {context} tokens",
            found=str(tokens),
            fix="take shorter texts, or fewer examples by --shots",
        ) from error


def endings(model: Any) -> tuple[list[int], int]:
    """Tokens that end a text, and the one that rows which ended are filled up with."""
    end = model.generation_config.eos_token_id
    stops = [] if end is None else end if isinstance(end, list) else [end]
    pad = model.generation_config.pad_token_id
    return stops, pad if pad is not None else (stops or [0])[0]


def _criteria(tokenizer: Any, width: int, bounds: Sequence[int], one_line: bool) -> Any:
    """Ends a row at its own bound, and where asked at a line feed."""
    from transformers import StoppingCriteria, StoppingCriteriaList

    class _RowEnds(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            made = input_ids.shape[1] - width
            ended = [
                made >= bound or (one_line and _has_line_feed(tokenizer, token))
                for bound, token in zip(bounds, input_ids[:, -1].tolist(), strict=True)
            ]
            return torch.tensor(ended, device=input_ids.device)

    return StoppingCriteriaList([_RowEnds()])


def _has_line_feed(tokenizer: Any, token: int) -> bool:
    return "\n" in tokenizer.decode([token])


def _one_line(tokenizer: Any, ids: list[int]) -> list[int]:
    for place, token in enumerate(ids):
        if _has_line_feed(tokenizer, token):
            return ids[: place + 1]
    return ids
