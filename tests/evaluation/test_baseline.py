"""Which models may be a gate's baseline: the base of a pruned folder, and what that was made of."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

import mwanda
from mwanda import InputError
from mwanda.evaluation.baseline import check_baseline
from mwanda.model.companions import is_tokenizer
from mwanda.pruning.folder.manifest import MANIFEST, CalibrationRecord, manifest_text, read_manifest
from tests.support.folders_made import Tiny


@pytest.fixture(scope="module")
def twice(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``once`` lies beside it, which it was pruned from."""
    out = tmp_path_factory.mktemp("pruned") / "twice"
    mwanda.prune(tiny("llama"), out=out.with_name("once"), criterion="magnitude", sparsity=0.2)
    mwanda.prune(out.with_name("once"), out=out, criterion="magnitude", sparsity=0.4)
    return out


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def test_a_base_with_another_tokenizer_is_another_model(
    tiny: Tiny, twice: Path, tmp_path: Path
) -> None:
    once, other = twice.with_name("once"), copied(tiny("llama"), tmp_path / "other")
    assert check_baseline(once, other, refuse=True) is True
    with (other / "tokenizer.json").open("a", encoding="utf-8") as file:
        file.write(" ")
    with pytest.raises(InputError, match=r"another one by its tokenizer\.json;"):
        check_baseline(once, other, refuse=True)
    shutil.copyfile(tiny("llama") / "tokenizer.json", other / "tokenizer.json")
    (other / "added_tokens.json").write_text("{}")
    assert check_baseline(once, other, refuse=False) is False


def test_a_manifest_from_before_tokenizers_were_hashed(
    tiny: Tiny, twice: Path, tmp_path: Path
) -> None:
    old, other = tmp_path / "old", copied(tiny("llama"), tmp_path / "other")
    copied(twice.with_name("once"), old)
    manifest = read_manifest(old)
    files = {name: sha for name, sha in manifest.base_files.items() if not is_tokenizer(name)}
    assert set(files) == {"model.safetensors", "config.json"}
    told = manifest_text(manifest.model_copy(update={"base_files": files}))
    (old / MANIFEST).write_text(told, encoding="utf-8")
    (other / "tokenizer.json").write_text("{}")
    assert check_baseline(old, other, refuse=True) is True
    assert check_baseline(old, twice, refuse=False) is False


def test_the_base_of_the_base_is_a_base(
    tiny: Tiny, twice: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert check_baseline(twice, twice.with_name("once"), refuse=True) is True
    assert check_baseline(twice, tiny("llama"), refuse=True) is True
    mwanda.prune(twice, out=tmp_path / "third", criterion="magnitude", sparsity=0.6)
    assert check_baseline(tmp_path / "third", tiny("llama"), refuse=True) is True
    assert check_baseline(twice, tmp_path / "third", refuse=False) is False
    assert "earlier_bases" not in json.loads((twice.with_name("once") / MANIFEST).read_text())
    with caplog.at_level(logging.WARNING):
        assert check_baseline(twice, tiny("llama", seed=5), refuse=False) is False
    assert "another one by its model.safetensors" in caplog.text


def test_a_chain_that_is_not_told_is_said(tiny: Tiny, twice: Path, tmp_path: Path) -> None:
    old, text = copied(twice, tmp_path / "old"), CalibrationRecord(
        source="text", seed=0, bos="none", length=32, weights={}, languages={}
    )  # fmt: skip
    untold = {"earlier_bases": (), "earlier": (text,)}
    told = manifest_text(read_manifest(old).model_copy(update=untold))
    (old / MANIFEST).write_text(told, encoding="utf-8")
    with pytest.raises(InputError, match="what that one was pruned from, the manifest does not"):
        check_baseline(old, tiny("llama"), refuse=True)


def test_a_model_without_a_manifest_cannot_say(tiny: Tiny, twice: Path) -> None:
    assert check_baseline(tiny("llama"), twice, refuse=True) is None
