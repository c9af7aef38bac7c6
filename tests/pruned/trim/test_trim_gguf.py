"""A trimmed GGUF file holds the rows as they were quantised, and reads as the trimmed model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file

import mwanda
from mwanda.errors import InputError
from mwanda.model.gguf.file import open_gguf, read_gguf
from mwanda.model.gguf.tokenizer import GGML
from tests.support.gguf_files import gguf_model, write_gguf
from tests.support.models import VOCABULARY


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama in Q8_0, with byte tokens, a merge and rows to spare. Do not write to it."""
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    return write_gguf(path, "llama", gguf_model("llama"), kind=GGMLQuantizationType.Q8_0)


def test_rows_stay_as_they_are_quantised(file: Path, tmp_path: Path) -> None:
    made = mwanda.trim(file, tmp_path / "out.gguf", "de", multiple=1)
    before, after = open_gguf(file), open_gguf(tmp_path / "out.gguf")
    kept = made.plan.kept
    assert kept == 260 < made.plan.rows == VOCABULARY
    tokens = before.fields[f"{GGML}tokens"]
    rows = [tokens.index(token) for token in after.fields[f"{GGML}tokens"]]
    assert len(rows) == kept
    assert tokens[rows[-1]] == "ab"
    assert after.fields[f"{GGML}merges"] == ["a b"]
    kinds = [before.fields[f"{GGML}token_type"][row] for row in rows]
    assert after.fields[f"{GGML}token_type"] == kinds
    assert after.fields["llama.vocab_size"] == kept
    changed = {"tokens", "token_type", "vocab_size"}
    for name, value in before.fields.items():
        if name.rpartition(".")[2] not in changed:
            assert after.fields[name] == value, name
    for one, two in zip(before.tensors, after.tensors, strict=True):
        assert (one.name, one.kind) == (two.name, two.kind)
        whole, cut = one.open(file), two.open(tmp_path / "out.gguf")
        table = one.name in ("token_embd.weight", "output.weight")
        assert np.array_equal(whole[rows] if table else whole, cut), one.name
    assert made.plan.kept_bytes == (tmp_path / "out.gguf").stat().st_size


def test_it_converts_to_the_same_model_with_fewer_rows(file: Path, tmp_path: Path) -> None:
    mwanda.trim(file, tmp_path / "out.gguf", "de", multiple=1)
    weights = []
    for path in (file, tmp_path / "out.gguf"):
        folder = tmp_path / path.stem
        folder.mkdir()
        read_gguf(path).convert(folder, torch.bfloat16)
        weights.append(load_file(folder / "model.safetensors"))
    tokens = [open_gguf(path).fields[f"{GGML}tokens"] for path in (file, tmp_path / "out.gguf")]
    rows = [tokens[0].index(token) for token in tokens[1]]
    for name, whole in weights[0].items():
        wanted = whole[rows] if len(whole) == VOCABULARY else whole
        assert torch.equal(weights[1][name], wanted), name
    tokenizer: Any = read_gguf(tmp_path / "out.gguf").tokenizer()
    assert tokenizer.decode(tokenizer("ab ж", add_special_tokens=False)["input_ids"]) == "ab ж"


def test_an_older_file_is_replaced_on_request_only(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    mwanda.trim(file, out, "de")
    with pytest.raises(InputError, match="--overwrite"):
        mwanda.trim(file, out, "de")
    mwanda.trim(file, out, "fr", options=mwanda.RunOptions(overwrite=True))
    for mine in (b"mine", file.read_bytes()):  # the second a GGUF file that no trim wrote
        out.write_bytes(mine)
        with pytest.raises(InputError, match="the only kind that --overwrite replaces"):
            mwanda.trim(file, out, "fr", options=mwanda.RunOptions(overwrite=True))
        assert out.read_bytes() == mine


def test_a_trim_of_a_trim_says_once_who_wrote_it(file: Path, tmp_path: Path) -> None:
    mwanda.trim(file, tmp_path / "one.gguf", "de,fr")
    mwanda.trim(tmp_path / "one.gguf", tmp_path / "two.gguf", "de")
    assert open_gguf(tmp_path / "two.gguf").fields["mwanda.command"] == "trim"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"extra": {"blk.0.more.weight": torch.zeros(VOCABULARY, 32)}}, "cannot be trimmed"),
        ({"fields": {"tokenizer.ggml.unheard": list(range(VOCABULARY))}}, "unheard"),
    ],
)
def test_what_is_as_long_as_the_vocabulary_is_not_guessed_at(
    tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    path = write_gguf(tmp_path / "model.gguf", "llama", gguf_model("llama"), **more)
    with pytest.raises(InputError, match=words):
        mwanda.trim(path, tmp_path / "out.gguf", "de")
    assert [one.name for one in tmp_path.iterdir()] == ["model.gguf"]


def test_a_folder_does_not_become_a_gguf(tmp_path: Path, tiny: Any) -> None:
    with pytest.raises(InputError, match="the model is none of GGUF"):
        mwanda.trim(tiny("llama"), tmp_path / "out.gguf", "de")
