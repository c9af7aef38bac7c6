"""The tokenizer in an artefact against the one whose ids are scored, on the text itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mwanda.evaluation.runtimes.runtime import Runtime
from mwanda.evaluation.texts import TextSet

log = logging.getLogger("mwanda")


def count_differences(runtime: Runtime, ids: Sequence[list[int]], texts: TextSet) -> dict[str, int]:
    """Language -> how many of its texts the artefact's own tokenizer cuts otherwise, where it does.

    Args:
        ids: of every text, language after language.
    """
    scored = iter(ids)
    found: dict[str, int] = {}
    for tag, group in texts.texts.items():
        for text in group:
            own = runtime.own_ids(text)
            if own is None:
                return {}
            if list(own) != next(scored):
                found[tag] = found.get(tag, 0) + 1
    return found


def tell_differences(found: dict[str, int], texts: TextSet, name: str) -> None:
    """Say in one line how many texts are cut otherwise."""
    if found:
        log.warning(
            "%s: its own tokenizer cuts %d of %d texts otherwise, in %s; scored are the ids of "
            "--tokenizer, and the program that serves it sees others", name, sum(found.values()),
            sum(map(len, texts.texts.values())), ", ".join(found),
        )  # fmt: skip
