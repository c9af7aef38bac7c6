"""Try every causal class of transformers and write what became of it.

Usage: ``python tools/model_families.py [CLASS ...]``. Makes a tiny random model of every class,
prunes it and loads the result, as the tests do; writes ``src/mwanda/model/classes.json`` and
``docs/models.md``, unless a class is pruned wrongly. With names, only those classes are tried and
nothing is written. A minute or two on one core; no network.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import transformers  # noqa: E402
from tests.support.walk import classes, tried  # noqa: E402

from mwanda.model.classes import (  # noqa: E402
    ClassTable,
    TriedClass,
    models_page,
)


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    rows: list[TriedClass] = []
    wrong: list[str] = []
    for name, model_type in classes().items():
        if names and name not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = tried(name, model_type, Path(folder))
            except Exception as error:  # noqa: BLE001 - the other classes are wanted all the same
                wrong.append(name)
                print(f"{name}: WRONG {type(error).__name__} {error}", flush=True)
                continue
        rows.append(row)
        print(f"{name}: {row.status} {row.reason}", flush=True)
    if wrong:
        sys.exit(f"nothing written: mend {', '.join(wrong)} first")
    if names:
        return
    table = ClassTable(transformers.__version__, tuple(rows))
    written = ROOT / "src" / "mwanda" / "model" / "classes.json"
    written.write_text(table.as_json(), encoding="utf-8")
    (ROOT / "docs" / "models.md").write_text(models_page(table), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
