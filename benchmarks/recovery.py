"""What background text saves and what a recovery gives back, in every kind of language.

Gemma 3 270M is pruned on the first windows of GNOME in fifteen languages, with and without a little
of the Declaration beside them, and then recovered from the same text, the next windows held out.
Rises over dense are shares of what Wanda loses on the same text, on FLORES, the first sentences of
a seeded draw: ids below 1000, to choose by, unless ``--ids`` says otherwise. No language scored as
*unseen* or *neither* is in any text, and no near relative of one, but that Swahili has other Bantu
languages beside it. Seconds are the processor's, of one thread, as other work may share it.

A second table leaves out the first token of every sentence. After the start alone the dense model
may know less than a model that lost weights: there pruning gains, and a recovery takes that back.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import mwanda
from harness import Table, kept, options_of, parsed, save
from processes import call
from real_models import SEEN, dense_folder, nats_at_first, nats_of, stored_bytes
from studies import background_without

SCORED = {
    "seen": ("de", "ru", "ja", "fi"),
    "unseen": ("ar", "sw", "th", "pl"),
    "neither": ("tr", "he", "yo"),
}
"""Languages that were learnt from, and others; the last chose nothing of the background either."""

EVERY = {
    "seen": tuple(SEEN),
    "background": ("hi", "bn", "el", "et", "it", "nl", "pt", "uk"),
    "relative seen": ("pl", "cs"),
    "neither": ("ar", "sw", "th", "tr", "he", "yo"),
}
"""All that FLORES has here. The background has no text of the last two, and none of a near relative
of the last; Russian, which is learnt from, is a relative of the last but one."""

PRUNES: dict[str, list[str]] = {
    "wanda": ["--criterion", "wanda", "--allocation", "uniform"],
    "m-wanda": [],
    "best-quality": ["--recipe", "best-quality"],
}

NONE = ["--background", "none"]
"""Options of text without a background."""


def unscored(given: argparse.Namespace) -> Path:
    """A folder of background text without any language scored but those of the group it is of."""
    out = [tag for name, tags in EVERY.items() if name != "background" for tag in tags]
    return background_without(out, given.work / "text")


def backgrounds(given: argparse.Namespace) -> Iterator[tuple[str, list[Any]]]:
    """What a name ends with, and options of the text."""
    folder = unscored(given) if any(given.background_windows) else None
    if 0 in given.background_windows:
        yield "", NONE
    for windows, weight in product(filter(None, given.background_windows), given.weights):
        yield f", {windows} background windows of weight {weight}", [
            "--background", folder, "--background-windows", windows, "--background-weight", weight,
        ]  # fmt: skip


def text(given: argparse.Namespace, background: Sequence[Any]) -> list[Any]:
    return ["--calibration", given.data / "gnome", "--languages", ",".join(SEEN),
            "--windows", given.windows, "--window-length", 256, *background]  # fmt: skip


def pruned(
    given: argparse.Namespace, name: str, folder: Path, background: Sequence[Any]
) -> dict[str, Any]:
    words = ["prune", dense_folder(given), "--out", folder, f"--{given.to}", *PRUNES[name]]
    made = call(given, *words, *text(given, background), "--overwrite", "--json")
    return {"processor": made.processor}


def recovered(
    given: argparse.Namespace, source: Path, folder: Path, steps: int, background: Sequence[Any]
) -> dict[str, Any]:
    words = ["recover", source, "--dense", dense_folder(given), "--out", folder, "--steps", steps]
    made = call(given, *words, *text(given, background), "--overwrite", "--json")
    found, every = made.output, made.output["held_out"].values()
    held_out = {when: sum(one[when] for one in every) / len(every) for when in ("before", "after")}
    return {"processor": made.processor, "held_out": held_out, "best_step": found["best_step"]}


def scored(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Bytes of the weights, and language -> nats a sentence over dense, ``rises``, of which at the
    sentence's first token, ``first``."""
    languages = [tag for tags in given.groups.values() for tag in tags]
    texts = mwanda.read_texts(
        given.data / "flores", languages, sentences=given.sentences, ids=given.ids
    )
    dense = dense_folder(given)
    one, two = (nats_of(path, texts, given.work) for path in (dense, folder))
    early, late = (nats_at_first(path, texts) for path in (dense, folder))
    return {
        "bytes": stored_bytes(folder),
        "rises": {tag: two[tag] - one[tag] for tag in one},
        "first": {tag: late[tag] - early[tag] for tag in one},
    }


def shares_of(
    rises: dict[str, float], wanda: dict[str, float], groups: dict[str, tuple[str, ...]]
) -> dict[str, float]:
    """Group -> what its languages lose together, over what they lose by Wanda."""
    return {
        name: sum(rises[tag] for tag in tags) / sum(wanda[tag] for tag in tags)
        for name, tags in groups.items()
    }


def table(
    found: dict[str, dict[str, Any]],
    groups: dict[str, tuple[str, ...]],
    rises: Callable[[dict[str, Any]], dict[str, float]],
) -> Table:
    wanda, rows = rises(found["wanda"]), []
    for name, made in found.items():
        one = {**made, "rises": rises(made)}
        shares = {tag: one["rises"][tag] / wanda[tag] for tag in wanda}
        worst, held = max(shares, key=lambda tag: shares[tag]), one.get("held_out", {})
        rows.append([
            name,
            *(f"{share:.3f}" for share in shares_of(one["rises"], wanda, groups).values()),
            f"{worst} {shares[worst]:.3f}",
            f"{held['before']:.3f} to {held['after']:.3f}" if held else "",
            f"{one['processor']:,.0f}" if "processor" in one else "",
            f"{one['bytes'] / 1e6:,.0f}",
        ])  # fmt: skip
    header = ["", *groups, "worst", "held out, nats a token", "processor seconds", "MB"]
    return Table(header, rows)


def whole(found: dict[str, Any]) -> dict[str, float]:
    """Rises over whole sentences."""
    rises: dict[str, float] = found["rises"]
    return rises


def after_first(found: dict[str, Any]) -> dict[str, float]:
    """Rises without the first token of every sentence."""
    return {tag: value - found["first"][tag] for tag, value in found["rises"].items()}


def main() -> None:
    parser = options_of(__doc__, "recovery", "gnome/ and flores/")
    parser.add_argument("--dense", type=Path)
    parser.add_argument("--prunes", nargs="*", choices=list(PRUNES), default=list(PRUNES))
    parser.add_argument("--to", default="sparsity=0.5", help="of the prunes; or pattern=2:4, …")
    parser.add_argument("--folders", nargs="*", default=[], metavar="NAME=FOLDER",
                        help="made by hand, to be scored too")  # fmt: skip
    parser.add_argument("--steps", nargs="*", type=int, default=[48, 192, 660],
                        help="of recoveries; none")  # fmt: skip
    parser.add_argument("--weights", nargs="+", default=["0.3"], help="of the background")
    parser.add_argument("--background-windows", nargs="+", type=int, default=[0])
    parser.add_argument("--windows", type=int, default=12, help="a language")
    parser.add_argument("--ids", default="0:999")
    parser.add_argument("--sentences", type=int, default=8, help="a language; of 491 from id 1000")
    parser.add_argument("--every", dest="groups", action="store_const", const=EVERY, default=SCORED,
                        help="all languages that FLORES has")  # fmt: skip
    parser.set_defaults(threads=1)
    given = parsed(parser)
    found: dict[str, dict[str, Any]] = {}

    def measured(key: str, folder: Path, make: Callable[[], dict[str, Any]]) -> None:
        print(key, flush=True)
        made = kept(folder.with_name(f"{folder.name}.json"), make)
        found[key] = {**made, **scored(given, folder)}

    for name in dict.fromkeys(["wanda", *given.prunes]):
        for end, words in backgrounds(given) if name != "wanda" else [("", NONE)]:
            folder = given.work / (name + end).replace(", ", "-").replace(" ", "-")
            measured(name + end, folder, partial(pruned, given, name, folder, words))
            for steps in given.steps if name in given.prunes else ():
                out = folder.with_name(f"{folder.name}-{steps}")
                make = partial(recovered, given, folder, out, steps, words)
                measured(f"{name}{end}, recovered in {steps} steps", out, make)
    for name, _, folder in (one.rpartition("=") for one in given.folders):
        found[name] = scored(given, Path(folder))
    ways = [whole, after_first] if any(found["wanda"]["first"].values()) else [whole]
    tables = [table(found, given.groups, rises) for rises in ways]
    save(given.results, {"models": found}, tables=tables)


if __name__ == "__main__":
    main()
