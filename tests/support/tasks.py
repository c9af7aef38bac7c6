"""Small made-up files in the form of XCOPA and of XWinograd."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

XCOPA_ROW: dict[str, Any] = {
    "premise": "A.", "choice1": "B.", "choice2": "C.", "question": "cause", "label": 0,
}  # fmt: skip
"""The fields of XCOPA that are read, sound."""

NOUNS = ("cat", "dog", "tree", "boat", "king", "lamp", "bird", "ship")


def write_xcopa(folder: Path, tags: Sequence[str], *, items: int = 6, split: str = "test") -> Path:
    """A folder of XCOPA; every language has its own words."""
    folder.mkdir(parents=True, exist_ok=True)
    for tag in tags:
        rows = [
            {
                "premise": f"The {noun} of {tag} fell. ",
                "choice1": f"It was {number} {tag}.",
                "choice2": f"Rain came to the {noun}.",
                "question": "cause" if number % 3 else "effect",
                "label": number % 2,
                "idx": number,
                "changed": False,
            }
            for number, noun in enumerate((NOUNS * items)[:items])
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.{tag}.jsonl").write_text(text, encoding="utf-8")
    return folder


def winograd_line(tag: str, first: str, second: str, *, right: int = 0) -> str:
    """One line of XWinograd's file."""
    tokens = ["The", first, "saw", "``", "a", second, "''", "because", "it", "was", "it", "."]
    sentence = f'The {first} saw "a {second}" because it was it.'
    fields = [
        tag, "original", "?", sentence, json.dumps(tokens), json.dumps(["it", [10, 11], ["it"]]),
        json.dumps([[f"the {first}", [0, 2], [], right == 0],
                    [f"the {second}", [4, 6], [], right == 1]]),
    ]  # fmt: skip
    return "\t".join(fields) + "\n"


def write_xwinograd(path: Path, tags: Sequence[str], *, items: int = 5) -> Path:
    """A file of XWinograd."""
    path.write_text(
        "".join(
            winograd_line(tag, NOUNS[n % 8], NOUNS[(n + 3) % 8], right=n % 2)
            for tag in tags
            for n in range(items)
        ),
        encoding="utf-8",
    )
    return path
