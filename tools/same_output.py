"""Whether two checkouts prune alike, by the SHA-256 of every file of many tiny prunes.

``python tools/same_output.py BEFORE AFTER``; only times and versions may differ.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, suppress
from functools import partial
from pathlib import Path
from typing import Any

FAMILIES = ("llama", "gemma3", "gpt2", "olmoe", "phi3")
WANDA: dict[str, Any] = {"sparsity": 0.5, "criterion": "wanda", "allocation": "uniform"}
RECIPES: dict[str, dict[str, Any]] = {
    "wanda": WANDA,
    "defaults": {"sparsity": 0.4},
    "2:4 ria": {"criterion": "ria", "pattern": "2:4"},
    "owl sequential": WANDA | {"allocation": "owl", "mode": "sequential"},
    "magnitude": {"criterion": "magnitude", "sparsity": 0.3, "skip_blocks": [0]},
    "admm": WANDA | {"reconstruction": "admm"},
    "sparsegpt": {"reconstruction": "sparsegpt", "allocation": "cwl", "dtype": "bfloat16"},
}
STOPPED = {"wanda": 12, "defaults": 9, "admm": 20}  # at which sync or rename; and from statistics
TEXT: dict[str, Any] = {"languages": ["de", "sw"], "windows": 3, "window_length": 32}
UNLIKE = {"seconds", "versions", "sha256", "statistics_file", "matmul_rate", "compute_seconds"}
UNLIKE |= {"anonymous", "high_water"}
"""What differs from time to time."""


ONE = "--one"
"""What the process of one checkout is given."""


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(value[name]) for name in value.keys() - UNLIKE}
    return value.hex() if isinstance(value, bytes) else value


def hashes(case: str, made: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, content in made.items():
        text = json.dumps(plain(content), sort_keys=True)
        yield f"{case}: {name}", hashlib.sha256(text.encode()).hexdigest()


def stopped_and_resumed(run: Callable[[], object], step: int) -> None:
    """Stop a run at one of its syncs and renames, and start it again."""
    from tests.support.failpoints import Steps, stop_with

    from mwanda.pruning import journal
    from mwanda.system import durable

    usual, journal.SHARE, journal.PATIENCE = durable.reached, 0.0, 0.0
    durable.reached = Steps(step, stop_with(KeyboardInterrupt()))
    with suppress(KeyboardInterrupt):
        run()
    durable.reached = usual
    run()


def every_case(family: str) -> Iterator[tuple[str, str]]:
    """Prune a model every way, in the folder one is in, with the checkout that is imported."""
    from tests.pruning.resume.helpers import made
    from tests.support.models import tiny_model
    from tests.support.text import write_corpus

    import mwanda

    write_corpus(Path("text"), TEXT["languages"])
    model = tiny_model(family, Path(family), max_shard_size="60KB")
    options = mwanda.RunOptions(batch_tokens=64, overwrite=True)
    text: dict[str, Any] = {"calibration": "text", "options": options}
    out, masks, stats = (Path(family, n) for n in ("out", "m.safetensors", "s.safetensors"))
    mwanda.collect_statistics(model, stats, gram=family != "olmoe", **text, **TEXT)
    yield from hashes(f"{family}, statistics", made(stats))
    for name, recipe in RECIPES.items():
        updates = "reconstruction" in recipe
        if updates and family == "olmoe":
            recipe = recipe | {"exclude": [r"\.experts\."]}
        asked, case = TEXT | recipe, f"{family}, {name}"
        prune = partial(mwanda.prune, model, out=out, **text, **asked)
        prune()
        plan = mwanda.plan(model, recipe=asked, **text).as_dict()
        yield from hashes(case, {**made(out), "plan": plan})
        if not updates:
            prune(out=masks, masks_only=True)
            yield from hashes(f"{case}, masks only", made(masks))
        if name in STOPPED and not (updates and family == "olmoe"):  # experts have no Gram matrix
            mwanda.prune(model, out=out, statistics=stats, options=options, **recipe)
            yield from hashes(f"{case}, from statistics", made(out))
        if name in STOPPED:
            stopped_and_resumed(prune, STOPPED[name])
            yield from hashes(f"{case}, resumed", made(out))


def made_by(checkout: str) -> dict[str, str]:
    root, small = os.path.abspath(checkout), {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment = os.environ | small | {"PYTHONPATH": f"{root}/src:{root}"}
    done = subprocess.check_output(
        [sys.executable, os.path.abspath(__file__), ONE], env=environment
    )
    return dict(json.loads(done))


def main() -> None:
    if sys.argv[1:] == [ONE]:
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            print(json.dumps(dict(pair for family in FAMILIES for pair in every_case(family))))
        return
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    before, after = map(made_by, sys.argv[1:])
    unlike = [name for name in before | after if before.get(name) != after.get(name)]
    print(f"{len(before)} files, {len(unlike)} differ", *unlike, sep="\n")
    sys.exit(bool(unlike))


if __name__ == "__main__":
    main()
