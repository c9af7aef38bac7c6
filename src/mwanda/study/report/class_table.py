"""Every class of transformers that was tried, with what became of it: ``docs/models.md``."""

from __future__ import annotations

from mwanda.model.classes import STATUSES, ClassTable


def model_rows(table: ClassTable) -> list[dict[str, str]]:
    """One mapping of plain text a class."""
    return [
        {
            "name": row.name,
            "model_type": row.model_type,
            "status": row.status,
            "note": row.reason or STATUSES[row.status],
        }
        for row in table.classes
    ]


def models_page(table: ClassTable) -> str:
    """The whole table as Markdown."""
    works, proven = table.of("proven", "works"), table.of("proven")
    refused, untried = table.of("refused"), table.of("not tried")
    lines = [
        "# Models",
        "",
        f"Every causal class that transformers {table.transformers} lists, made tiny from its own "
        "config and pruned.",
        f"**{len(works)} of {len(table.classes)} work**, {len(proven)} of them proven entry by "
        f"entry; {len(refused)} are refused, {len(untried)} could not be tried.",
        "`mwanda ls models` prints this page; `python tools/model_families.py` makes it anew, and "
        "the tests try every class again.",
        "",
        "Nothing in the code asks this list: a class that is not on it is pruned when its blocks "
        "are recognised, else refused with the reason.",
        "The models were random and tiny, so the list says that the work is right, not how well a "
        "trained model stands it.",
        "",
    ]
    lines += [f"* **{status}**: {meaning}." for status, meaning in STATUSES.items()]
    lines += ["", "## Works", "", "| class | model type | |", "|---|---|---|"]
    for row in works:
        note = f"{row.status}, {row.reason}" if row.reason else row.status
        lines.append(f"| `{row.name}` | `{row.model_type}` | {note} |")
    for title, rows in (("Refused", refused), ("Not tried", untried)):
        lines += ["", f"## {title}", "", "| class | model type | why |", "|---|---|---|"]
        for row in rows:
            why = row.reason.replace("|", "\\|")
            lines.append(f"| `{row.name}` | `{row.model_type}` | {why} |")
    return "\n".join(lines) + "\n"
