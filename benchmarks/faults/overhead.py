"""What the journal costs: the same prune with and without, in turn.

Wall time is that of the whole process, imports included. Both must end in the same hashes.
"""

from __future__ import annotations

from typing import Any

from forks import fault_options, fresh, hashes, prune_words

from harness import Table, bar, pairwise, parsed, save, spread
from processes import call


def main() -> None:
    parser = fault_options(__doc__, "journal-overhead")
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--window-length", type=int, default=256)
    parser.add_argument("--mode", choices=("dense", "sequential"), default="sequential")
    parser.add_argument("--pairs", type=int, default=5)
    given = parsed(parser)
    shape = (given.windows, given.window_length)
    words = [*prune_words(given, None, shape), "--mode", given.mode, "--json"]
    times: dict[str, list[float]] = {"journal": [], "no journal": []}
    rounds: list[dict[str, Any]] = []
    made = []
    for number in range(given.pairs):
        for name in times if number % 2 else reversed(times):
            out = fresh(given.work / "overhead") / "out"
            more = ["--no-journal"] if name == "no journal" else []
            ran = call(given, *words, "--out", out, *more)
            times[name].append(ran.seconds)
            made.append(hashes(out))
            rounds.append({"run": name, "seconds": ran.seconds, "stages": ran.output["seconds"]})
            print(rounds[-1], flush=True)
    ratio = pairwise(times["journal"], times["no journal"])
    rows = [[name, f"{spread(some)['median']:.2f} s", f"{min(some):.2f}", f"{max(some):.2f}"]
            for name, some in times.items()]  # fmt: skip
    save(
        given.results,
        {
            "model": given.model, "mode": given.mode, "windows": shape,
            "languages": given.languages, "threads": given.threads, "rounds": rounds,
            "ratio": ratio, "same hashes": all(one == made[0] for one in made),
        },
        tables=[Table(["run", "median", "min", "max"], rows)],
        bars=[bar("time with a journal over time without", ratio, most=1.05)],
    )  # fmt: skip


if __name__ == "__main__":
    main()
