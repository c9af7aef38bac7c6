"""Do zeros stay while a pruned model is trained on real text, and what does training give back?

Gemma 3 270M pruned to 50 % on calibration windows of fifteen languages, then trained ``--steps``
steps on other windows of the same text, its zeros held by ``mwanda.KeepZeros`` under transformers'
Trainer and by ``mwanda.keep_zeros`` in a plain loop. The embedding, which is the head too and is
not pruned, is frozen. Loss is nats per token of other text in the same languages: sentences of
FLORES with ids below 1000, before and after. What was measured is kept in ``--work``, so that a
run with one of ``--ways`` leaves the other to a later one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

import mwanda as library
from harness import Table, bar, kept, options_of, parsed, save
from mwanda.model.run.discovery import find_structure
from mwanda.model.run.structure import matrix_in
from mwanda.pruned.zeros import find_masks as masks
from mwanda.text.window_files import load
from processes import call
from real_models import dense_folder
from studies import SEEN

WAYS = ("callback", "hook")

TUNING_IDS = range(1000)
"""Sentences of FLORES that may be looked at; the others are kept for what is reported of methods.
"""


class Rows(Dataset[dict[str, torch.Tensor]]):
    """Windows as a Trainer takes them."""

    def __init__(self, ids: torch.Tensor) -> None:
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        ids = self._ids[place]
        return {"input_ids": ids, "labels": ids}


def windows(given: argparse.Namespace, dense: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Windows of each language to calibrate with, to train on, and to take the loss of."""
    drawn = _drawn(given, dense, "gnome", given.data / "gnome", given.windows)
    return {
        "calibration": {tag: ids[: given.calibration] for tag, ids in drawn.items()},
        "training": {tag: ids[given.calibration :] for tag, ids in drawn.items()},
        "held out": _drawn(given, dense, "flores", _flores(given), given.held_out),
    }


def _drawn(
    given: argparse.Namespace, dense: Path, name: str, text: Path, windows: int
) -> dict[str, torch.Tensor]:
    """``int64 [windows, length]`` of each language."""
    path: Path = given.work / f"{name}-{given.seed}-{windows}x{given.length}.safetensors"
    if not path.is_file():
        call(given, "windows", dense, "--out", path, "--calibration", text,
             "--languages", given.languages, "--windows", windows,
             "--window-length", given.length, "--seed", given.seed, "--json")  # fmt: skip
    return dict(load(path).tokens)


def _flores(given: argparse.Namespace) -> Path:
    """The sentences with :data:`TUNING_IDS`, as a folder of their own."""
    folder: Path = given.work / "flores-below-1000"
    folder.mkdir(exist_ok=True)
    for tag in given.languages.split(","):
        lines = (given.data / "flores" / f"{tag}.jsonl").read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["id"] in TUNING_IDS]
        (folder / f"{tag}.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    return folder


def pruned_folder(given: argparse.Namespace, dense: Path, ids: dict[str, torch.Tensor]) -> Path:
    """The model pruned on the calibration windows, by m-wanda with cwl."""
    from safetensors.torch import save_file

    folder: Path = given.work / "pruned"
    if not (folder / "mwanda.json").is_file():
        path = given.work / "calibration.safetensors"
        save_file({tag: rows.contiguous() for tag, rows in ids.items()}, path)
        call(given, "prune", dense, "--out", folder, "--calibration", path, "--allocation", "cwl",
             "--sparsity", given.sparsity, "--json")  # fmt: skip
    return folder


@torch.no_grad()
def losses(model: Any, ids: dict[str, torch.Tensor]) -> dict[str, float]:
    """Nats per token of each language."""
    model.eval()
    found = {
        tag: sum(float(model(input_ids=row[None], labels=row[None]).loss) for row in rows)
        / len(rows)
        for tag, rows in ids.items()
    }
    model.train()
    return found


def zeros(model: nn.Module) -> dict[str, torch.Tensor]:
    """Where every linear is zero."""
    return {
        linear.name: matrix_in(model.get_parameter(linear.parameter).detach(), linear) == 0
        for linear in find_structure(model).linears()
    }


def by_callback(model: Any, rows: torch.Tensor, given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=given.work) as scratch:
        arguments = TrainingArguments(
            output_dir=scratch, max_steps=given.steps, learning_rate=given.rate, seed=given.seed,
            per_device_train_batch_size=given.batch, lr_scheduler_type="constant",
            save_strategy="no", weight_decay=0.01, report_to=[], use_cpu=True, disable_tqdm=True,
            dataloader_pin_memory=False, logging_steps=max(1, given.steps // 10),
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=Rows(rows), callbacks=[library.KeepZeros()]).train()


def by_hook(model: Any, rows: torch.Tensor, given: argparse.Namespace) -> None:
    with library.keep_zeros(model):
        plain_steps(model, rows, given, given.steps)


def plain_steps(model: Any, rows: torch.Tensor, given: argparse.Namespace, steps: int) -> None:
    """So many steps of AdamW on windows drawn at random."""
    generator = torch.Generator().manual_seed(given.seed)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=given.rate, weight_decay=0.01)
    for _ in range(steps):
        places = torch.randint(0, len(rows), (given.batch,), generator=generator)
        model(input_ids=rows[places], labels=rows[places]).loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def load_model(folder: Path) -> Any:
    """In float32, its embedding frozen."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.get_input_embeddings().requires_grad_(False)
    return model


def trained(folder: Path, way: str, text: Any, given: argparse.Namespace) -> dict[str, Any]:
    """One training, from the pruned folder to its losses."""
    torch.manual_seed(given.seed)
    model = load_model(folder)
    were, before, mask_bytes = zeros(model), losses(model, text["held out"]), masks(model).nbytes
    old = {name: model.get_parameter(f"{name}.weight").detach().clone() for name in were}
    rows = torch.cat(list(text["training"].values()))
    start = time.perf_counter()
    (by_callback if way == "callback" else by_hook)(model, rows, given)
    seconds = time.perf_counter() - start
    now = zeros(model)
    lost = sum(int((mask & ~now[name]).sum()) for name, mask in were.items())
    moved = sum(
        int((model.get_parameter(f"{name}.weight").detach() != weight).sum())
        for name, weight in old.items()
    )
    return {
        "zeros": sum(int(mask.sum()) for mask in were.values()),
        "zeros_lost": lost,
        "kept_weights": sum(int((~mask).sum()) for mask in were.values()),
        "weights_moved": moved,
        "mask_bytes": mask_bytes,
        "seconds": seconds,
        "before": before,
        "after": losses(model, text["held out"]),
    }


def tables(found: dict[str, Any], dense: dict[str, float]) -> list[Table]:
    """Loss per language, and what became of the zeros."""
    first = next(iter(found.values()))
    rows = [
        [tag, f"{value:.3f}", f"{first['before'][tag]:.3f}",
         *(f"{row['after'][tag]:.3f}" for row in found.values())]
        for tag, value in dense.items()
    ]  # fmt: skip

    def mean(values: dict[str, float]) -> str:
        return f"{sum(values.values()) / len(values):.3f}"

    rows.append(["mean", mean(dense), mean(first["before"]),
                 *(mean(row["after"]) for row in found.values())])  # fmt: skip
    kept = [
        [way, f"{row['zeros']:,}", f"{row['zeros_lost']:,}", f"{row['weights_moved']:,}",
         f"{row['seconds']:.0f}"]
        for way, row in found.items()
    ]  # fmt: skip
    return [
        Table(["nats per token", "dense", "pruned", *(f"trained, {way}" for way in found)], rows),
        Table(["zeros held by", "zeros", "lost", "other weights that moved", "seconds"], kept),
    ]


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Text and training, as ``siblings.py`` takes them too."""
    parser.add_argument("--data", type=Path, required=True, help="folder with gnome/ and flores/")
    parser.add_argument("--dense", type=Path, help="a dense folder; made from the GGUF if absent")
    parser.add_argument("--languages", default=",".join(SEEN))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rate", type=float, default=3e-5)
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--windows", type=int, default=64, help="a language, to train on and below")
    parser.add_argument("--calibration", type=int, default=8, help="of them")
    parser.add_argument("--held-out", type=int, default=6, help="a language, for the loss")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)


def main() -> None:
    parser = options_of(__doc__, "finetune")
    add_training_options(parser)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, default=200)
    given = parsed(parser)
    torch.set_num_threads(given.threads)
    dense = dense_folder(given)
    text = windows(given, dense)
    folder = pruned_folder(given, dense, text["calibration"])
    dense_losses = kept(
        given.work / "dense.json", lambda: losses(load_model(dense), text["held out"])
    )
    found = {
        way: kept(given.work / f"{way}.json", partial(trained, folder, way, text, given))
        for way in given.ways
    }
    bars = []
    for way, row in found.items():
        bars.append(bar(f"{way}: zeros lost", row["zeros_lost"], most=0))
        ratio = sum(row["after"].values()) / sum(row["before"].values())
        bars.append(bar(f"{way}: mean loss after / before", ratio, most=1.0))
    settings = {
        name: getattr(given, name)
        for name in ("steps", "batch", "rate", "sparsity", "windows", "calibration", "held_out",
                     "length", "seed", "threads")
    }  # fmt: skip
    data = {"settings": settings, "dense": dense_losses, "ways": found}
    save(given.results, data, tables=tables(found, dense_losses), bars=bars)


if __name__ == "__main__":
    main()
