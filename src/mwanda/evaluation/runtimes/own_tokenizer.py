"""The tokenizer in an artefact against the one whose ids are scored, on the text itself."""

from __future__ import annotations

import logging
from typing import Any

from mwanda.evaluation.runtimes.runtime import Runtime
from mwanda.evaluation.texts import TextSet
from mwanda.text.tokens import token_ids

log = logging.getLogger("mwanda")


def tell_differences(runtime: Runtime, tokenizer: Any, texts: TextSet, name: str) -> int:
    """Say in one line how many texts the artefact's own tokenizer cuts otherwise; their number."""
    differing, first = 0, ""
    for tag, group in texts.texts.items():
        for place, text in enumerate(group, 1):
            own = runtime.own_ids(text)
            if own is None:
                return 0
            if list(own) != token_ids(tokenizer, text):
                differing += 1
                first = first or f"{tag} {place}"
    if differing:
        count = sum(map(len, texts.texts.values()))
        log.warning(
            "%s: its own tokenizer cuts %d of %d texts otherwise, the first %s; scored are the ids "
            "of --tokenizer, and the program that serves it sees others", name, differing, count,
            first,
        )  # fmt: skip
    return differing
