"""Where a model comes from, and which files go along with its weights."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mwanda.errors import InputError
from mwanda.model.given import check_model, is_hub_id
from mwanda.model.source import load_tokenizer, open_model


def test_a_folder_is_used_where_it_lies(tiny: Callable[..., Path]) -> None:
    with open_model(str(tiny("llama"))) as source:
        assert source.folder == source.original == tiny("llama")
        assert (source.kind, source.name) == ("folder", str(tiny("llama")))
        assert source.dequantised is None


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "./a", "/no/where", "~/model", "a\0b"])
def test_a_name_of_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(InputError, match=r"expected a model folder.*found nothing there;") as caught,
        open_model(name),
    ):
        pass
    place = f"it is looked for in {tmp_path}"
    assert (place in str(caught.value)) is not name.startswith("/")


def test_a_name_of_nothing_is_refused_in_a_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir("gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match=r"found nothing there; check the spelling$"):
        check_model("nothing")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=r"x\.bin: .*another kind"), open_model(tmp_path / "x.bin"):
        pass


def test_a_hub_id_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(InputError, match=r"org/model: .*hub.*spelling"), open_model("org/model"):
        pass


def test_a_path_is_never_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("org/model-1.5_b")
    for name in ("model", "", "/a", "a/", "./a", "../a", "~/a", "a/b/c", "a/b c", "a/..b", "é/b"):
        assert not is_hub_id(name)
    (tmp_path / "org").mkdir()
    assert not is_hub_id("org/model")


@pytest.mark.parametrize(
    ("file", "raw"),
    [
        ("tokenizer.json", None),
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\xff"),
        ("tokenizer.json", b'{"model": 5}'),
        ("tokenizer_config.json", b"{"),
        ("tokenizer_config.json", b"[]"),
    ],
)
def test_a_tokenizer_that_cannot_be_loaded_is_refused(
    tiny: Callable[..., Path], tmp_path: Path, file: str, raw: bytes | None
) -> None:
    shutil.copytree(tiny("llama"), tmp_path, dirs_exist_ok=True)
    if raw is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(raw)
    with pytest.raises(InputError) as caught:
        load_tokenizer(tmp_path)
    for part in (f"{tmp_path}: tokenizer", "expected", "found", "tokenizer.json"):
        assert part in str(caught.value)


@pytest.mark.parametrize("kind", ["gpt2", "qwen2", "gemma", "xglm", "opt", "t5", "gpt_neox"])
def test_a_folder_without_tokenizer_files_has_no_tokenizer(tmp_path: Path, kind: str) -> None:
    """transformers makes an empty one for these, without a word."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    for more in ("tokenizer_config.json", "special_tokens_map.json"):
        with pytest.raises(
            InputError, match=r"tokenizer: expected tokenizer files.*copy tokenizer"
        ):
            load_tokenizer(tmp_path)
        (tmp_path / more).write_text("{}")


def test_a_tokenizer_json_with_nothing_in_it_is_refused(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny("llama"), tmp_path, dirs_exist_ok=True)
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    data["model"] |= {"vocab": {}, "merges": [], "unk_token": None}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="without a vocabulary"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_of_bytes_needs_no_vocabulary(tmp_path: Path) -> None:
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    assert load_tokenizer(tmp_path)("ab").input_ids


def test_a_link_to_nothing_is_no_missing_tokenizer_file(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny("llama"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "tokenizer_config.json").symlink_to("gone")
    with pytest.raises(
        InputError, match=r"tokenizer_config\.json: .*a link to gone, where nothing"
    ):
        load_tokenizer(tmp_path)
