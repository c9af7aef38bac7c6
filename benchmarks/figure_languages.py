"""The picture of ``languages.py``: each language's rise under each method, as an SVG."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness import RESULTS, pyplot, save_figure
from mwanda.text.languages import display_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS / "languages.json")
    parser.add_argument("--out", type=Path, default=Path("docs/images/languages.svg"))
    given = parser.parse_args()
    comparisons = json.loads(given.results.read_text())["comparisons"]
    methods = list(comparisons)
    rises = {name: data["rise"] for name, data in comparisons.items()}
    seen = [tag for tag, row in rises["m-wanda"].items() if row["seen"]]
    unseen = [tag for tag, row in rises["m-wanda"].items() if not row["seen"]]
    tags = seen + unseen
    figure, axes = pyplot().subplots(figsize=(9, 3.6), layout="constrained")
    width = 0.8 / len(methods)
    for number, (name, colour) in enumerate(
        zip(methods, ("#b0533c", "#6f8fb8", "#1f4e79"), strict=True)
    ):
        places = [k + (number - 1) * width for k in range(len(tags))]
        heights = [100 * rises[name][tag]["relative"] for tag in tags]
        axes.bar(places, heights, width, label=name, color=colour)
    axes.axvline(len(seen) - 0.5, color="#888888", linewidth=0.8, linestyle=":")
    axes.text(len(seen) - 0.4, axes.get_ylim()[1] * 0.95, "unseen", fontsize=8, va="top")
    labels = [display_name(tag) for tag in tags]
    axes.set_xticks(range(len(tags)), labels, rotation=50, ha="right", fontsize=8)
    axes.set_ylabel("rise in NLL per sentence, %")
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, [axes], given.out)


if __name__ == "__main__":
    main()
