"""Where a model comes from, and which files go along with its weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mwanda.errors import InputError
from mwanda.model.given import is_hub_id
from mwanda.model.source import copy_companions, load_tokenizer, open_model


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
        pytest.raises(InputError, match=r"expected a model folder.*found nothing there;"),
        open_model(name),
    ):
        pass


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


def test_everything_but_weights_and_what_is_made_anew_goes_along(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "folder").mkdir(parents=True)
    target.mkdir()
    along = ["LICENSE", "NOTICE.txt", "chat_template.jinja", "generation_config.json",
             "tokenizer.json", "tokenizer.model", "vocab.txt"]  # fmt: skip
    behind = [".hidden", "README.md", "config.json", "mwanda.json", "model.safetensors", "a.GGUF",
              "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
              "x.pt", "x.pth", "x.onnx", "tf_model.h5"]  # fmt: skip
    for name in along + behind:
        (source / name).write_text(name)
    assert copy_companions(source, target) == sorted(along)
    assert {p.name: p.read_text() for p in target.iterdir()} == {name: name for name in along}


def test_links_are_followed_only_within_the_folder_or_the_hubs_cache(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    plain, cached = tmp_path / "plain", tmp_path / "models--a" / "snapshots" / "1"
    blob = tmp_path / "models--a" / "blobs" / "9"
    for folder in (plain, cached, blob.parent, tmp_path / "one", tmp_path / "two"):
        folder.mkdir(parents=True)
    blob.write_text("blob")
    (plain / "real.txt").write_text("real")
    (plain / "inside.txt").symlink_to("real.txt")
    (plain / "outside.txt").symlink_to(secret)
    (plain / "dangling.txt").symlink_to("nowhere")
    (cached / "blob.txt").symlink_to(Path(os.path.relpath(blob, cached)))
    (cached / "outside.txt").symlink_to(secret)
    assert copy_companions(plain, tmp_path / "one") == ["inside.txt", "real.txt"]
    assert copy_companions(cached, tmp_path / "two") == ["blob.txt"]
    assert not (tmp_path / "two" / "blob.txt").is_symlink()
    assert (tmp_path / "two" / "blob.txt").read_text() == "blob"
