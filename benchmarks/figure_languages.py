"""The picture of ``languages.py``: each language's rise under each method, as an SVG.

Written as it is, without a library, because it follows the reader's light or dark mode.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from xml.sax.saxutils import escape

from harness import RESULTS
from mwanda.text.languages import display_name

STYLE = """\
text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1b1f24; }
.soft { fill: #57606a; } .strong { font-weight: 600; } .title { font-size: 16px; font-weight: 600; }
.left { text-anchor: end; } .mid { text-anchor: middle; }
.ground { fill: #ffffff; } .rule { stroke: #d8dee4; } .span { stroke: #afb8c1; stroke-width: 2; }
.m0 { fill: #b34700; } .m1 { fill: #0b62a8; } .m2 { fill: #0a7a55; }
@media (prefers-color-scheme: dark) {
  text { fill: #e8ecf0; } .soft { fill: #a9b4bf; }
  .ground { fill: #0d1117; } .rule { stroke: #30363d; } .span { stroke: #57606a; }
  .m0 { fill: #ff9e5e; } .m1 { fill: #64b5f6; } .m2 { fill: #4fd1a1; }
}"""
NAMES = ("Wanda, calibrated on English", "Wanda, on all 15 languages", "mwanda, on the same 15")
WIDTH, LEFT, RIGHT, ROW = 760, 150, 730, 19
MARKS = (  # a shape of its own for each method, beside its colour
    '<rect class="m0" x="{0:.1f}" y="{1}" width="9" height="9" transform="translate(-4.5 -4.5)"/>',
    '<path class="m1" d="M{0:.1f} {1}m-6 0l6 -6l6 6l-6 6z"/>',
    '<circle class="m2" cx="{0:.1f}" cy="{1}" r="5.2"/>',
)


def picture(rises: dict[str, dict[str, dict[str, float]]]) -> str:
    """The picture of method -> language -> ``relative`` and ``seen``, methods as in NAMES."""
    first, *_, last = rises.values()
    most = max(row["relative"] for rows in rises.values() for row in rows.values())
    highest = 10 * -(-most // 0.1)
    groups = {
        "calibrated": [tag for tag, row in last.items() if row["seen"]],
        "not calibrated": [tag for tag, row in last.items() if not row["seen"]],
    }
    parts: list[str] = []
    y = 92

    def row(name: str, values: list[float], style: str = "") -> None:
        nonlocal y
        places = [LEFT + (RIGHT - LEFT) * 100 * value / highest for value in values]
        parts.append(
            f'<text class="left {style}" x="{LEFT - 14}" y="{y + 4}">{escape(name)}</text>'
        )
        parts.append(f'<path class="span" d="M{min(places):.1f} {y}H{max(places):.1f}"/>')
        parts.extend(mark.format(x, y) for mark, x in zip(MARKS, places, strict=True))
        y += ROW

    every = [tag for tags in groups.values() for tag in tags]
    means = [sum(rows[tag]["relative"] for tag in every) / len(every) for rows in rises.values()]
    row(f"mean of {len(every)}", means, "strong")
    parts += [
        f'<text class="soft mid" x="{LEFT + (RIGHT - LEFT) * 100 * mean / highest:.1f}" '
        f'y="{y - ROW - 10}">{100 * mean:.1f} %</text>'
        for mean in means
    ]
    for name, tags in groups.items():
        y += 9
        parts.append(f'<text class="soft left" x="{LEFT - 14}" y="{y + 4}">{name}</text>')
        parts.append(f'<path class="rule" d="M{LEFT} {y}H{RIGHT}"/>')
        y += ROW
        for tag in sorted(tags, key=lambda tag: -first[tag]["relative"]):
            row(display_name(tag), [rows[tag]["relative"] for rows in rises.values()])
    bottom = y - 4
    grid, x = [], 20
    for tick in range(0, int(highest) + 1, 10):
        at = LEFT + (RIGHT - LEFT) * tick / highest
        grid.append(f'<path class="rule" d="M{at:.1f} 76V{bottom}"/>')
        grid.append(f'<text class="soft mid" x="{at:.1f}" y="{bottom + 18}">{tick} %</text>')
    for mark, name in zip(MARKS, NAMES, strict=True):
        grid += [mark.format(x, 52), f'<text x="{x + 14}" y="56">{name}</text>']
        x += 30 + 7 * len(name)
    height = bottom + 54
    title = "What each language loses when half of the weights go"
    said = "rise of the negative log-likelihood per sentence over the dense model, Gemma 3 270M"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img">',
        f"<title>{title}</title>", f"<style>\n{STYLE}\n</style>",
        '<rect class="ground" width="100%" height="100%" rx="6"/>',
        f'<text class="title" x="14" y="28">{title}</text>',
        *grid, *parts,
        f'<text class="soft mid" x="{(LEFT + RIGHT) / 2}" y="{bottom + 40}">{said}</text>',
        "</svg>", "",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images/languages.svg"))
    given = parser.parse_args()
    results = (RESULTS / "languages.json").read_text(encoding="utf-8")
    comparisons = json.loads(results)["comparisons"]
    rises = {name: data["rise"] for name, data in comparisons.items()}
    given.out.write_text(picture(rises), encoding="utf-8")


if __name__ == "__main__":
    main()
