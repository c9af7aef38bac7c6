"""Sound files of every kind, and copies of them to be spoiled."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mwanda
from mwanda.pruned.archive.codec import PLAIN, encode
from mwanda.pruned.archive.contents import HEADER, footer
from tests.model.helpers import INDEX, raw_file
from tests.study.helpers import Lab
from tests.support.gguf_files import gguf_model, write_gguf
from tests.support.models import tiny_model
from tests.support.text import write_corpus, write_parallel

__all__ = ["QUICK", "SHARD", "Place"]

QUICK = ("--windows", "2", "--window-length", "32")
SHARD = "model.safetensors"


@dataclass(frozen=True)
class Place:
    """Where commands are run on files that are wrong.

    Attributes:
        good: a folder with ``model``, another one ``unlike`` it, ``text``, ``other`` text,
            ``parallel``, ``pruned``, ``masks.safetensors``, ``statistics.safetensors``,
            ``windows.safetensors``, ``pruned.mwz`` and ``model.gguf``, all sound. Nothing writes
            in it.
        root: an empty folder for one case.
    """

    good: Path
    root: Path

    @classmethod
    def make(cls, folder: Path) -> Place:
        """Make the sound files, by the library's own functions."""
        folder.mkdir(parents=True, exist_ok=True)
        model = tiny_model("llama", folder / "model")
        write_corpus(folder / "text", ["de", "sw"], lines=60)
        write_corpus(folder / "other", ["de", "sw", "fr"], lines=5, seed=3)
        write_parallel(folder / "parallel", ["de", "sw"])
        tiny_model("llama", folder / "unlike", seed=5)
        words: dict[str, Any] = {"windows": 2, "window_length": 32}
        given: dict[str, Any] = {"calibration": str(folder / "text"), **words}
        fields: dict[str, Any] = {"criterion": "wanda", "allocation": "uniform"}
        mwanda.prune(model, out=folder / "pruned", **given, **fields)
        masks = folder / "masks.safetensors"
        mwanda.prune(model, out=masks, masks_only=True, **given, **fields)
        mwanda.collect_statistics(model, folder / "statistics.safetensors", **given)
        from mwanda.pruning.draw_windows import draw_windows

        draw_windows(
            str(model), folder / "windows.safetensors", str(folder / "text"), languages=None,
            windows=2, length=32, seed=0,
        )  # fmt: skip
        mwanda.pack(folder / "pruned", folder / "pruned.mwz")
        write_gguf(folder / "model.gguf", "llama", gguf_model("llama"))
        return cls(folder, folder)

    def at(self, root: Path) -> Place:
        """The same sound files, and another empty folder."""
        return replace(self, root=root)

    @property
    def out(self) -> Path:
        return self.root / "out"

    # --- words of commands ---

    def prune(self, model: Path | str | None = None, *words: object) -> list[object]:
        """A quick prune of a model on sound text; later words win."""
        given = ["--calibration", self.good / "text", *QUICK]
        return ["prune", model or self.good / "model", "--out", self.out, *given, *words]

    def prune_with(self, *words: object) -> list[object]:
        """A prune of the sound model with no text but what the words give."""
        return ["prune", self.good / "model", "--out", self.out, *words]

    def plan(self, *words: object) -> list[object]:
        """The plan of that prune."""
        return ["plan", self.good / "model", *self.prune()[4:], *words]

    def evaluate(self, *words: object) -> list[object]:
        """An evaluation of the sound model on the text it may have been pruned on."""
        return ["eval", self.good / "model", "--text", self.good / "text", "--no-generate", *words]

    def compare(self, *words: object) -> list[object]:
        """An evaluation of the pruned model on other text; later words win."""
        given = ["--text", self.good / "other", "--no-generate", "--sentences", 2]
        return ["eval", self.good / "pruned", *given, *words]

    def draw(self, *words: object) -> list[object]:
        """Windows of sound text; later words win."""
        given = ["--out", self.root / "w.safetensors", "--calibration", self.good / "text", *QUICK]
        return ["windows", self.good / "model", *given, *words]

    def study(self, **fields: Any) -> Path:
        """The document of a small study, its fields changed."""
        models = {"tiny": self.good / "model"}
        lab = Lab(models, self.good / "text", self.good / "parallel", self.root)
        evaluation = {"text": str(lab.text), "languages": ["de", "sw"]}
        return lab.document(**{"evaluation": evaluation} | fields)

    def search(self, *words: object) -> list[object]:
        """A search on sound text; later words win."""
        given = ["--text", self.good / "parallel", "--text-languages", "de,sw", *QUICK]
        given += ["--calibration", self.good / "text", "--step", 0.2, "--highest", 0.6]
        return ["search", self.good / "model", *given, "--criterion", "wanda", *words]

    def translate(self, *words: object) -> list[object]:
        """A translation of a few sound sentences; later words win."""
        given = ["--text", self.good / "parallel", "--direction", "de-sw", "--sentences", "2"]
        return ["translate", self.good / "model", *given, "--shots", "1", *words]

    def recover(self, model: Path | None, *words: object) -> list[object]:
        """A recovery of the pruned model, or another one, on sound text; later words win."""
        given = ["--dense", self.good / "model", "--out", self.out, *words]
        return [
            "recover",
            model or self.good / "pruned",
            *given,
            "--calibration",
            self.good / "other",
        ]

    def quantise(self, *words: object) -> list[object]:
        """The sound model in a GGUF type; later words win."""
        return ["quantise", self.good / "model", "--type", "Q8_0", "--out", self.out, *words]

    def pack(self, *words: object) -> list[object]:
        """The pruned model packed; later words win."""
        return ["pack", self.good / "pruned", "--out", self.root / "a.mwz", *words]

    def apply(self, source: Path, *words: object) -> list[object]:
        """Sound masks on a model; later words win."""
        masks = self.good / "masks.safetensors"
        return ["mask", "apply", masks, source, "--out", self.out, *words]

    def xcopa(self, raw: bytes, name: str = "test.et.jsonl") -> list[object]:
        """Tasks from a folder of one file."""
        folder = self.root / "xcopa"
        folder.mkdir()
        (folder / name).write_bytes(raw)
        return ["tasks", self.good / "model", "--task", f"xcopa={folder}"]

    def xwinograd(self, raw: bytes) -> list[object]:
        path = self.root / "dataset.tsv"
        path.write_bytes(raw)
        return ["tasks", self.good / "model", "--task", f"xwinograd={path}"]

    def magnitude(self, model: Path | str) -> list[object]:
        """A prune that needs no text."""
        return ["prune", model, "--out", self.out, "--criterion", "magnitude"]

    # --- copies that are wrong ---

    def model(self, **config: Any) -> Path:
        """A copy of the model, its config changed."""
        folder = self.root / "model"
        shutil.copytree(self.good / "model", folder)
        if config:
            path = folder / "config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | config))
        return folder

    def config(self, raw: bytes) -> list[object]:
        folder = self.model()
        (folder / "config.json").write_bytes(raw)
        return self.prune(folder)

    def shard(self, header: Any, data: bytes = bytes(16)) -> list[object]:
        """A model whose one shard is this header and these bytes."""
        folder = self.model()
        raw_file(folder / SHARD, header, data)
        return self.prune(folder)

    def raw_shard(self, raw: bytes) -> list[object]:
        folder = self.model()
        (folder / SHARD).write_bytes(raw)
        return self.prune(folder)

    def index(self, weight_map: Any, raw: bytes | None = None) -> list[object]:
        """A model in one part under an index."""
        folder = self.model()
        (folder / SHARD).rename(folder / "part.safetensors")
        text = json.dumps({"weight_map": weight_map}).encode() if raw is None else raw
        (folder / INDEX).write_bytes(text)
        return self.prune(folder)

    def weights(
        self, change: Callable[[dict[str, torch.Tensor]], Any], **config: Any
    ) -> list[object]:
        folder = self.model(**config)
        tensors = load_file(folder / SHARD)
        change(tensors)
        save_file(tensors, folder / SHARD, {"format": "pt"})
        return self.prune(folder)

    def tokenizer(self, raw: bytes | None) -> list[object]:
        folder = self.model()
        for path in folder.glob("tokenizer*"):
            path.unlink()
        if raw is not None:
            (folder / "tokenizer.json").write_bytes(raw)
        return self.prune(folder)

    def text(self, raw: bytes, name: str = "de.txt") -> list[object]:
        """A prune on a folder of one text file."""
        folder = self.root / "text"
        folder.mkdir()
        (folder / name).write_bytes(raw)
        return self.prune(None, "--calibration", folder)

    def copied(self, name: str) -> Path:
        """A copy of a sound folder or file."""
        copy = shutil.copytree if (self.good / name).is_dir() else shutil.copyfile
        return Path(copy(self.good / name, self.root / name))

    def written(self, name: str, text: str = "") -> Path:
        """A file of the caller's own."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def recipe(self, text: str | bytes) -> list[object]:
        path = self.root / "recipe.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return self.prune(None, "--recipe", path)

    def saved(
        self, kind: str, change: Callable[[dict[str, torch.Tensor], Any], Any], *words: object
    ) -> list[object]:
        """A spoiled copy of a sound file of our own, put where ``FILE`` stands in the words."""
        path = self.root / f"{kind}.safetensors"
        with safe_open(self.good / path.name, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            record = json.loads(stored.metadata()["mwanda"])
        made = change(tensors, record)
        save_file(tensors, path, {"mwanda": made if isinstance(made, str) else json.dumps(record)})
        return [path if word == "FILE" else word for word in words]

    def cut(self, name: str, size: int, *words: object) -> list[object]:
        """The first bytes of a sound file, or all but its last where ``size`` is negative."""
        path = self.root / name
        path.write_bytes((self.good / name).read_bytes()[:size])
        return [path if word == "FILE" else word for word in words]

    def flipped(self, name: str, at: int, *words: object) -> list[object]:
        """A sound file with one bit changed."""
        path = self.root / name
        data = bytearray((self.good / name).read_bytes())
        data[at] ^= 4
        path.write_bytes(data)
        return [path if word == "FILE" else word for word in words]

    def manifest(self, change: Callable[[dict[str, Any]], Any] | bytes) -> list[object]:
        """A pruned folder whose manifest is something else."""
        folder = self.root / "pruned"
        shutil.copytree(self.good / "pruned", folder)
        path = folder / "mwanda.json"
        if isinstance(change, bytes):
            path.write_bytes(change)
        else:
            data = json.loads(path.read_text())
            change(data)
            path.write_text(json.dumps(data))
        return ["verify", folder]

    def archive(self, change: Callable[[dict[str, Any]], Any]) -> list[object]:
        """An archive of one text whose index was changed and whose checksums are right."""
        raw = b"hello"
        coded = encode(raw, PLAIN, 0, 0)
        chunk = [len(coded), len(raw), zlib.crc32(coded), zlib.crc32(raw)]
        index: dict[str, Any] = {
            "format": 1,
            "files": [{"path": "a.txt", "size": 5, "sha256": hashlib.sha256(raw).hexdigest(),
                       "segments": [{"chunks": [chunk]}]}],
        }  # fmt: skip
        made = change(index)
        text = made if isinstance(made, bytes) else json.dumps(index).encode()
        path = self.root / "a.mwz"
        path.write_bytes(HEADER + coded + text + footer(len(HEADER) + len(coded), text))
        return ["unpack", path, "--out", self.out]
