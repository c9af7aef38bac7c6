"""Every method of the registry with formula, source, needs, cost and use: ``docs/methods.md``."""

from __future__ import annotations

from collections.abc import Mapping

from mwanda.errors import InputError, nearest
from mwanda.methods.kinds import Allocation, Criterion, Pattern, Reconstruction, defaults_of
from mwanda.methods.registry import ALLOCATIONS, CRITERIA, PATTERNS, RECONSTRUCTIONS

Row = Criterion | Allocation | Pattern | Reconstruction

KINDS: Mapping[str, Mapping[str, Row]] = {
    "criteria": CRITERIA,
    "allocations": ALLOCATIONS,
    "patterns": PATTERNS,
    "reconstructions": RECONSTRUCTIONS,
}

ABOUT = {
    "criteria": "A score for every weight, higher = keep (`--criterion`).",
    "allocations": "A sparsity for every block, linear or role; their parameter-weighted mean is "
    "the target (`--allocation`).",
    "patterns": "Which of a matrix's scores are compared with which (`--pattern`).",
    "reconstructions": "New values for the weights that stay, none by default "
    "(`--reconstruction`).",
}

CRITERIONS = "what the criterion needs"


def rows_of(kind: str) -> list[dict[str, str]]:
    """One table of the registry, a mapping of plain text a method."""
    if kind not in KINDS:
        raise InputError("ls", expected="a table", found=repr(kind), fix=nearest(kind, KINDS))
    rows = [_row(row) for row in KINDS[kind].values()]
    if kind == "patterns":
        formula = "of each M consecutive inputs the N highest stay"
        rows.append(rows[-1] | {"name": "N:M", "formula": formula, "when": "any other N and M"})
    return rows


def methods_page() -> str:
    """The whole registry as Markdown."""
    lines = [
        "# Methods",
        "",
        "Every method there is, as the registry has it; `mwanda ls methods` prints this page.",
        "Notation is that of [method.md](method.md). *Needs* are statistics of a linear's inputs:",
        "`square` (Σx² by language), `activity` (how often a feature is active, by language;",
        "`activity-sign` with `activity=sign`), `gram` (Σ x·xᵀ, weighted over languages).",
    ]
    for kind in KINDS:
        lines += ["", f"## {kind.capitalize()}", "", ABOUT[kind]]
        for row in rows_of(kind):
            lines += ["", f"### `{row['name']}`", ""]
            lines += [
                f"* {key}: {_code(key, value)}" for key, value in row.items() if key != "name"
            ]
    return "\n".join(lines) + "\n"


def _row(row: Row) -> dict[str, str]:
    found = {"name": row.name, "formula": row.formula}
    if not isinstance(row, Pattern):
        options = ", ".join(f"{name}={value}" for name, value in defaults_of(row).items())
        nothing = CRITERIONS if isinstance(row, Allocation) and row.probe else "nothing"
        found |= {"needs": ", ".join(row.needs) or nothing, "options": options or "none"}
    return found | {"cost": row.cost, "when": row.when, "source": row.source}


def _code(key: str, value: str) -> str:
    plain = key in ("cost", "when", "source") or value in ("none", "nothing", CRITERIONS)
    return value if plain or " go" in value or " stay" in value else f"`{value}`"
