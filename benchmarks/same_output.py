"""Whether two checkouts prune the same: every file of many small prunes, by its SHA-256.

``python benchmarks/same_output.py BEFORE AFTER``. Only how long a run took, and with which
versions, may differ. Models are random and tiny: a minute or two a checkout.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

Recipe = dict[str, Any]
FAMILIES = ("llama", "gemma3", "gpt2", "olmoe", "phi3")
WANDA: Recipe = {"sparsity": 0.5, "criterion": "wanda", "allocation": "uniform"}
RECIPES: dict[str, Recipe] = {
    "wanda": WANDA,
    "defaults": {"sparsity": 0.4},
    "2:4 ria": {"criterion": "ria", "pattern": "2:4"},
    "owl sequential": WANDA | {"allocation": "owl", "mode": "sequential"},
    "admm": WANDA | {"reconstruction": "admm"},
    "sparsegpt": {"sparsity": 0.5, "allocation": "cwl", "mode": "dense", "dtype": "bfloat16"}
    | {"reconstruction": "sparsegpt"},
    "magnitude": {"criterion": "magnitude", "sparsity": 0.3, "skip_blocks": [0]},
}
TEXT = {"languages": ["de", "sw"], "windows": 3, "window_length": 32}
SAVED: dict[str, Recipe] = {"wanda": WANDA, "defaults": {"sparsity": 0.5}, "admm": RECIPES["admm"]}
RESUMED: list[tuple[str, Recipe, int]] = [
    ("wanda", WANDA, 12),
    ("defaults", {"sparsity": 0.5}, 9),
    ("admm", RECIPES["admm"], 20),
]
UNLIKE = ("seconds", "versions", "sha256", "statistics_file")
"""Of a record: what differs from run to run, and hashes of it."""
TIMED = dict.fromkeys(("matmul_rate", "compute_seconds", "anonymous", "high_water"))
"""Of a plan, the same."""


def record(data: dict[str, Any]) -> dict[str, Any]:
    """What a manifest or the header of a file says, without what differs from run to run."""
    return {name: value for name, value in data.items() if name not in UNLIKE}


def hashed(path: Path) -> str:
    raw = path.read_bytes()
    if path.name == "mwanda.json":
        raw = json.dumps(record(json.loads(raw))).encode()
    elif path.suffix == ".safetensors":
        size = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:size])
        if "mwanda" in header.get("__metadata__", {}):
            own = json.loads(header["__metadata__"]["mwanda"])
            own |= {"manifest": record(own["manifest"])} if "manifest" in own else {}
            raw = json.dumps([header | {"__metadata__": record(own)}]).encode() + raw[size:]
    return hashlib.sha256(raw).hexdigest()


def hashes(case: str, out: Path) -> Iterator[tuple[str, str]]:
    """Name of a case and a file of it -> hash."""
    for path in sorted(out.rglob("*")) if out.is_dir() else [out]:
        if path.is_file():
            yield f"{case}: {path.relative_to(out.parent)}", hashed(path)


def stopped_and_resumed(run: Callable[[], object], step: int) -> None:
    """Stop a run at one of its syncs and renames, and start it again."""
    from tests.support.failpoints import Steps, stop_with

    from mwanda.pruning import journal
    from mwanda.system import durable

    usual, journal.SHARE, journal.PATIENCE = durable.reached, 0.0, 0.0
    durable.reached = Steps(step, stop_with(KeyboardInterrupt()))
    try:
        run()
    except KeyboardInterrupt:
        durable.reached = usual
        run()
    durable.reached = usual


def every_case(family: str) -> Iterator[tuple[str, str]]:
    """Prune a model every way, in the folder one is in, with the checkout that is imported."""
    from tests.support.models import tiny_model

    import mwanda

    model = tiny_model(family, Path(family), max_shard_size="60KB")
    options = mwanda.RunOptions(batch_tokens=64, overwrite=True)
    text: dict[str, Any] = {"calibration": "text", "options": options} | TEXT
    stats, out = Path(family, "stats.safetensors"), Path(family, "out")
    gram = family != "olmoe"  # experts have none, and take no reconstruction
    mwanda.collect_statistics(model, stats, gram=gram, **text)
    yield from hashes(f"{family}, statistics", stats)
    for name, recipe in RECIPES.items():
        if "reconstruction" in recipe and not gram:
            recipe = recipe | {"exclude": [r"\.experts\."]}
        mwanda.prune(model, out=out, **text, **recipe)
        yield from hashes(f"{family}, {name}", out)
        plan = mwanda.plan(model, recipe=TEXT | recipe, calibration="text", options=options)
        yield f"{family}, {name}: plan", str(plan.as_dict() | TIMED)
        if "reconstruction" not in recipe:
            masks = Path(family, "masks.safetensors")
            mwanda.prune(model, out=masks, masks_only=True, **text, **recipe)
            yield from hashes(f"{family}, {name}, masks only", masks)
    for name, recipe in SAVED.items():
        if gram or "reconstruction" not in recipe:
            mwanda.prune(model, out=out, statistics=stats, options=options, **recipe)
            yield from hashes(f"{family}, {name}, saved statistics", out)
    for name, recipe, step in RESUMED if gram else RESUMED[:2]:
        stopped_and_resumed(partial(mwanda.prune, model, out=out, **text, **recipe), step)
        yield from hashes(f"{family}, {name}, resumed from step {step}", out)


def made_by(checkout: Path) -> dict[str, str]:
    """Case and file -> hash, by a process that imports this checkout alone."""
    paths = os.pathsep.join(str(checkout.resolve() / name) for name in ("src", "."))
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve())],
        env={**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, str] = json.loads(done.stdout)
    return found


def main() -> None:
    """Compare two checkouts; without any, print what the one imported makes."""
    if len(sys.argv) == 3:
        before, after = (made_by(Path(checkout)) for checkout in sys.argv[1:])
        unlike = [name for name in before | after if before.get(name) != after.get(name)]
        print(f"{len(before)} files, {len(unlike)} differ", *unlike, sep="\n")
        sys.exit(bool(unlike))
    from tests.support.text import write_corpus

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_corpus(Path("text"), TEXT["languages"])
        print(json.dumps(dict(pair for family in FAMILIES for pair in every_case(family))))


if __name__ == "__main__":
    main()
