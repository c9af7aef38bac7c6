"""Puts the tables of ``benchmarks/results`` into the documentation, between their markers.

``<!-- table: NAME -->`` and ``<!-- end of table -->``, each on a line of its own, take the table of
``NAME.json``; what was between them is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from mwanda.system.text_tables import markdown

PAGES = (Path("README.md"), Path("docs/results.md"))

_PLACE = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n).*?(<!-- end of table -->\n)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("files", type=Path, nargs="*", default=[*PAGES])
    given = parser.parse_args()
    for path in given.files:
        path.write_text(fill(path.read_text(encoding="utf-8"), given.results), encoding="utf-8")


def fill(text: str, results: Path) -> str:
    """``text`` with every marked table made anew from ``results``."""

    def table(match: re.Match[str]) -> str:
        data = json.loads((results / f"{match[2]}.json").read_text(encoding="utf-8"))["table"]
        return f"{match[1]}\n{markdown(data['header'], data['rows'])}\n\n{match[3]}"

    return _PLACE.sub(table, text)


if __name__ == "__main__":
    main()
