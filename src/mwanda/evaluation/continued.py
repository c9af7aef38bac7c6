"""Several continuations a language, and whether they repeat themselves or leave the language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mwanda.evaluation.decode import continue_ids
from mwanda.evaluation.generated import Checked, LanguageCheck, check_generated
from mwanda.evaluation.generation import PROMPT_TOKENS
from mwanda.text.tokens import first_ids

NEW_TOKENS = 48
"""Tokens of one continuation: enough text to tell a language by."""


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
        model: a causal model in memory.
        texts: language -> texts.
        count: most continuations of a language.
        start: ids put before the prompt.

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


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True))
