"""Greedy continuations: one a language, and whether it only repeats itself; or several, and whether
they repeat themselves or leave the language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch

from mwanda.evaluation.decode import continue_ids, endings, greedy
from mwanda.evaluation.generated import Checked, LanguageCheck, check_generated
from mwanda.system.shown import AsDict
from mwanda.text.tokens import first_ids

PROMPT_TOKENS = 10
"""Tokens of a text used as prompt: equally many a language, so that one batch needs no padding."""

NEW_TOKENS = 48
"""Tokens of a continuation that is checked: enough text to tell a language by."""


@dataclass(frozen=True)
class Continuation(AsDict):
    """A prompt, what came after it, and whether that was one phrase over and over."""

    prompt: str
    text: str
    repetitive: bool


@dataclass(frozen=True)
class Continued:
    """The continuations of one language.

    Attributes:
        outputs: what the model wrote, checked.
        references: what the texts themselves go on with, checked alike: the check's own errors.
        texts: prompt and continuation of each.
    """

    outputs: Checked
    references: Checked
    texts: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "outputs": self.outputs.as_dict(),
            "references": self.references.as_dict(),
            "texts": [{"prompt": prompt, "text": text} for prompt, text in self.texts],
        }


@torch.no_grad()
def continue_texts(
    model: Any,
    tokenizer: Any,
    texts: Mapping[str, Sequence[str]],
    *,
    start: Sequence[int],
    new_tokens: int = 24,
) -> dict[str, Continuation]:
    """Continue the first text of each language that is long enough.

    Args:
        model: a causal model in memory.
        texts: language -> texts.
        start: ids put before the prompt.
        new_tokens: length of the continuation in tokens.

    Returns:
        Language -> continuation; languages whose texts are all too short are absent.
    """
    prompts: dict[str, list[int]] = {}
    for tag, candidates in texts.items():
        for text in candidates:
            own = first_ids(tokenizer, text, PROMPT_TOKENS + 1)
            if len(own) > PROMPT_TOKENS:
                prompts[tag] = [*start, *own[:PROMPT_TOKENS]]
                break
    if not prompts:
        return {}
    device = next(model.parameters()).device
    ids = torch.tensor(list(prompts.values()), device=device)
    stops, filling = endings(model)
    output = greedy(
        model,
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new_tokens,
        pad_token_id=filling,
    )
    found = {}
    for tag, prompt, row in zip(prompts, prompts.values(), output.tolist(), strict=True):
        # A row that ends before the others is filled up, which is no repetition of its own.
        new = list(takewhile(lambda token: token not in stops, row[len(prompt) :]))
        found[tag] = Continuation(
            tokenizer.decode(prompt[len(start) :], skip_special_tokens=True),
            tokenizer.decode(new, skip_special_tokens=True),
            repeats(new),
        )
    return found


def continue_and_check(
    model: Any,
    tokenizer: Any,
    texts: Mapping[str, Sequence[str]],
    count: int,
    *,
    start: Sequence[int],
) -> dict[str, Continued]:
    """Continue the first texts of each language that are long enough, greedily.

    Args:
        model, texts, start: as of :func:`continue_texts`.
        count: most continuations of a language.

    Returns:
        Language -> continuations; languages whose texts are all too short are absent.
    """
    check = LanguageCheck()
    prompts: list[tuple[str, list[int]]] = []
    rest: dict[str, list[str]] = {}
    for tag, candidates in texts.items():
        for text in candidates:
            if len(rest.get(tag, ())) == count:
                break
            ids = first_ids(tokenizer, text, PROMPT_TOKENS + NEW_TOKENS)
            if len(ids) > PROMPT_TOKENS:
                prompts.append((tag, ids[:PROMPT_TOKENS]))
                after = ids[PROMPT_TOKENS : PROMPT_TOKENS + NEW_TOKENS]
                rest.setdefault(tag, []).append(_decode(tokenizer, after))
    made = continue_ids(
        model, tokenizer, [[*start, *ids] for _, ids in prompts], [NEW_TOKENS] * len(prompts)
    )
    outputs: dict[str, list[tuple[str, str]]] = {}
    for (tag, prompt), new in zip(prompts, made, strict=True):
        pair = (_decode(tokenizer, prompt), _decode(tokenizer, new))
        outputs.setdefault(tag, []).append(pair)
    return {
        tag: Continued(
            check_generated([text for _, text in pairs], tag, check),
            check_generated(rest[tag], tag, check),
            tuple(pairs),
        )
        for tag, pairs in outputs.items()
    }


def repeats(tokens: Sequence[int]) -> bool:
    """Whether the end of a token sequence is one phrase of up to 8 tokens, over and over: at least
    three times and over half of the sequence."""
    length = len(tokens)
    for size in range(1, 9):
        times = 1
        while (times + 1) * size <= length and tokens[
            length - (times + 1) * size : length - times * size
        ] == tokens[length - size :]:
            times += 1
        if times >= 3 and times * size > length / 2:
            return True
    return False


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True))
