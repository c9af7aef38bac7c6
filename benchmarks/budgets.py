"""What quality costs in time and in text: prunes, blocks fitted one by one, and recoveries.

Gemma 3 270M at 50 %. Wanda, the defaults and best-quality have twelve windows of GNOME in each of
fifteen languages, the last two a background without any language scored. From best-quality's model
``local.py`` and recoveries go on, of several lengths, on several amounts of text in those of
``--learnt``, which are *seen*. Rises over dense are shares of what Wanda loses on the same FLORES
text, ids below 1000. Seconds are the processor's of all that made a model, of one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from harness import Table, kept, options_of, parsed, save, svg_plots
from processes import call, environment, run
from real_models import dense_folder, windows_file
from recovery import NONE, SCORED, pruned, scored, shares_of, unscored

PRUNED, LOCAL, RECOVERED = "best-quality", "local", "recovered"


def learnt_on(given: argparse.Namespace, windows: int) -> list[Any]:
    return ["--calibration", given.data / "gnome", "--languages", given.learnt,
            "--windows", windows, *NONE]  # fmt: skip


def recovered(given: argparse.Namespace, windows: int, steps: int, out: Path) -> dict[str, Any]:
    words = ["recover", given.work / PRUNED, "--dense", dense_folder(given), "--out", out]
    made = call(given, *words, "--steps", steps, *learnt_on(given, windows), "--overwrite",
                "--json")  # fmt: skip
    return {"processor": made.processor}


def local(given: argparse.Namespace, windows: int, steps: int, out: Path) -> dict[str, Any]:
    line = [
        sys.executable, Path(__file__).with_name("local.py"), "--data", given.data,
        "--work", given.work, "--dense", dense_folder(given), "--pruned", given.work / PRUNED,
        "--out", out, "--languages", given.learnt, "--windows", str(windows),
        "--steps", str(steps),
    ]  # fmt: skip
    made = run(line, env=environment(given.threads))
    return {"processor": made.processor}


def plain_forward(given: argparse.Namespace) -> dict[str, Any]:
    """Processor seconds of the backbone on 128 windows of 256 tokens, in bfloat16."""
    dense = dense_folder(given)
    tokens = load_file(windows_file(given, dense, 128, languages=["de"]))["de"]
    torch.set_num_threads(given.threads)
    model = AutoModelForCausalLM.from_pretrained(dense, dtype=torch.bfloat16).eval()
    with torch.inference_mode():
        model.model(input_ids=tokens[:4], use_cache=False)
        start = time.process_time()
        for part in tokens.split(4):
            model.model(input_ids=part, use_cache=False)
    return {"processor": time.process_time() - start, "windows": len(tokens)}


def pairs(given: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Windows a language and steps, of words such as ``48x300``."""
    for word in given:
        windows, _, steps = word.partition("x")
        yield int(windows), int(steps)


def rows_of(found: Mapping[str, Mapping[str, Any]], plain: float) -> list[list[str]]:
    rows = []
    for name, one in found.items():
        shares = (f"{share:.3f}" for share in one["shares"].values())
        text = str(one["windows"] or "")
        rows.append([name, text, f"{one['seconds']:,.0f}", f"{one['seconds'] / plain:,.0f}",
                     *shares])  # fmt: skip
    return rows


def draw(found: Mapping[str, Mapping[str, Any]], target: Path) -> None:
    """Shares of what Wanda loses against seconds; recoveries of one text are one line."""
    figure, axes = svg_plots().subplots(
        1, len(SCORED), figsize=(11, 3.6), sharey=True, layout="constrained"
    )
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for name, one in sorted(found.items(), key=lambda item: item[1]["seconds"]):
        recovery = name.startswith(RECOVERED)
        line = f"{RECOVERED}, {one['windows']} windows a language" if recovery else name
        lines.setdefault(line, []).append(one)
    for axis, group in zip(axes, SCORED, strict=True):
        for label, points in lines.items():
            seconds, shares = zip(
                *((p["seconds"], p["shares"][group]) for p in points), strict=True
            )
            axis.plot(seconds, shares, "o-", label=label, markersize=5)
        axis.set_xscale("log")
        axis.set_title(group, fontsize=10)
        axis.set_xlabel("processor seconds, the prune's too")
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    axes[0].set_ylabel("share of what Wanda loses")
    axes[-1].legend(frameon=False, fontsize=8)
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    parser = options_of(__doc__, "budgets", "gnome/ and flores/")
    parser.add_argument("--dense", type=Path)
    parser.add_argument("--local", nargs="*", default=["48x160"], metavar="WINDOWSxSTEPS",
                        help="windows a language, and steps a block")  # fmt: skip
    parser.add_argument("--recoveries", nargs="*", metavar="WINDOWSxSTEPS",
                        default=["12x240", "48x60", "48x120", "48x240", "88x240"])  # fmt: skip
    parser.add_argument("--learnt", default="en,de,ru,ja,fi",
                        help="languages; scored are all of them but English")  # fmt: skip
    parser.add_argument("--picture", type=Path, help="docs/images/budgets.svg; none by default")
    parser.add_argument("--ids", default="0:999")
    parser.add_argument("--sentences", type=int, default=24, help="a language")
    parser.set_defaults(threads=1, to="sparsity=0.5", windows=12)
    given = parsed(parser)
    seen = tuple(tag for tag in given.learnt.split(",") if tag != "en")
    given.groups = SCORED | {"seen": seen}
    plain = kept(given.work / "plain.json", lambda: plain_forward(given))["processor"]
    found: dict[str, dict[str, Any]] = {}

    def measured(
        name: str, folder: Path, windows: int, steps: int, before: float, make: Callable[[], Any]
    ) -> None:
        print(name, flush=True)
        made = kept(folder.with_name(f"{folder.name}.json"), make)
        found[name] = {
            "windows": windows, "steps": steps, "seconds": before + made["processor"],
            **scored(given, folder),
        }  # fmt: skip

    others = ["--background", unscored(given)]
    for name, words in (("wanda", NONE), ("m-wanda", others), (PRUNED, others)):
        folder = given.work / name
        measured(name, folder, 0, 0, 0.0, partial(pruned, given, name, folder, words))
    prune = found[PRUNED]["seconds"]
    for kind, learn, asked in (
        (LOCAL, local, given.local),
        (RECOVERED, recovered, given.recoveries),
    ):
        for windows, steps in pairs(asked):
            folder = given.work / f"{kind}-{given.learnt.replace(',', '-')}-{windows}-{steps}"
            make = partial(learn, given, windows, steps, folder)
            measured(
                f"{kind}, {steps} steps, {windows} windows", folder, windows, steps, prune, make
            )
    for one in found.values():
        one["shares"] = shares_of(one["rises"], found["wanda"]["rises"], given.groups)
    header = ["", "windows a language", "processor seconds", "forwards of 128 windows", *SCORED]
    save(given.results, {"models": found, "plain": plain},
         tables=[Table(header, rows_of(found, plain))])  # fmt: skip
    if given.picture is not None:
        draw(found, given.picture)


if __name__ == "__main__":
    main()
