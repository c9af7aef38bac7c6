"""Write the results of the benchmarks into pages, between their markers.

``<!-- results: NAME -->`` … ``<!-- end -->`` is filled from ``benchmarks/results/NAME.json``: the
command, the machine, the tables, and every bar with the figure that met or missed it;
``<!-- table: NAME -->`` … ``<!-- end of table -->`` with the one table of that file.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from harness import RESULTS
from mwanda.system.text_tables import markdown

_RESULTS = re.compile(r"<!-- results: (?P<name>[\w-]+) -->\n.*?<!-- end -->", re.DOTALL)
_TABLE = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n).*?(<!-- end of table -->\n)", re.DOTALL)


def section(name: str, path: Path) -> str:
    """What stands between one pair of markers."""
    if not path.is_file():
        return f"No results yet: run `benchmarks/{name}.py`."
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or not data.keys() >= {"command", "machine", "tables", "bars"}:
        raise ValueError(f"{path}: expected what harness.save writes; run {name}.py again")
    on = data["machine"]
    machine = f"{on['cpu']} ({on['vector']}), {on['cores']} cores, {on['memory'] / 2**30:.0f} GiB"
    programs = f"Python {on['python']}, torch {on['torch']}"
    parts = [f"`{data['command']}`", f"{machine}; {programs}."]
    parts += [markdown(table["header"], table["rows"]) for table in data["tables"]]
    if data["bars"]:
        parts.append(markdown(["bar", "", "measured", "min to max", ""], bar_rows(data["bars"])))
    return "\n\n".join(parts)


def bar_rows(bars: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each bar: claim, limit, figure, spread of the rounds, verdict."""
    return [
        [one["claim"], f"{one['sense']} {one['limit']:g}", f"{one['value']:.4g}",
         "" if one["low"] is None else f"{one['low']:.4g} to {one['high']:.4g}",
         "met" if one["met"] else "**missed**"]
        for one in bars
    ]  # fmt: skip


def fill(text: str, results: Path) -> str:
    """A page with everything between its markers made anew."""

    def whole(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!-- results: {name} -->\n{section(name, results / f'{name}.json')}\n<!-- end -->"

    def table(found: re.Match[str]) -> str:
        data = json.loads((results / f"{found[2]}.json").read_text(encoding="utf-8"))["table"]
        return f"{found[1]}\n{markdown(data['header'], data['rows'])}\n\n{found[3]}"

    return _TABLE.sub(table, _RESULTS.sub(whole, text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, nargs="+", default=[Path("docs/performance.md")])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    given = parser.parse_args()
    for page in given.page:
        page.write_text(fill(page.read_text(encoding="utf-8"), given.results), encoding="utf-8")


if __name__ == "__main__":
    main()
