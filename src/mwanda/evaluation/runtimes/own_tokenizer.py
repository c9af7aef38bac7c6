"""The tokenizer in an artefact against the one whose ids are scored, on the text itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mwanda.evaluation.runtimes.runtime import Runtime
from mwanda.evaluation.texts import TextSet

log = logging.getLogger("mwanda")


def tell_differences(runtime: Runtime, ids: Sequence[list[int]], texts: TextSet, name: str) -> int:
    """Say in one line how many texts the artefact's own tokenizer cuts otherwise; their number.

    Args:
        ids: of every text, language after language.
    """
    scored = iter(ids)
    differing, first = 0, ""
    for tag, group in texts.texts.items():
        for place, text in enumerate(group, 1):
            own = runtime.own_ids(text)
            if own is None:
                return 0
            if list(own) != next(scored):
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
