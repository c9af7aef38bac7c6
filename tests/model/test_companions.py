"""Which files go along with the weights of a model, and where their links may lead."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import mwanda
from mwanda.errors import InputError
from mwanda.model.companions import companion_names, copy_companions, find_companions, is_licence
from mwanda.model.links import real_file
from mwanda.model.stored.reader import Checkpoint
from tests.pruning.pipeline.helpers import windows_file

Tiny = Callable[..., Path]

ALONG = [
    "LICENSE", "LICENSE-APACHE-2.0", "MODEL_LICENSE.md", "NOTICE.txt", "GEMMA_TERMS.md",
    "USE_POLICY.md", "added_tokens.json", "bpe.codes", "chat_template.jinja", "chat_template.json",
    "generation_config.json", "merges.txt", "preprocessor_config.json", "processor_config.json",
    "qwen.tiktoken", "sentencepiece.bpe.model", "special_tokens_map.json", "spiece.model",
    "tekken.json", "tokenizer.4.0.0.json", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "vocab.json", "vocab.txt",
    "additional_chat_templates/rag.jinja", "custom_generate/generate.py", "LICENSES/MIT.txt",
]  # fmt: skip
BEHIND = [
    "LICENSE.bak", "adapter_config.json", "adapter_model.safetensors", "a.GGUF", "config.json.orig",
    "all_results.json", "consolidated.safetensors", "eval.log", "model.safetensors.bak",
    "model.safetensors.index.json", "optimizer.pt", "params.json", "pytorch_model.bin",
    "pytorch_model.bin.index.json", "rng_state.pth", "scheduler.pt", "tf_model.h5",
    "tokenizer.json.bak", "tokenizer_old.json", "train.jsonl", "train.txt", "train.py",
    "trainer_state.json", "training_args.bin", "vocab.txt~", "notes.md",
    "runs/events.out", "checkpoint-5/model.safetensors", "original/params.json",
    "custom_generate/data.npz", "custom_generate/old/generate.py", "notes.model",
]  # fmt: skip
ANEW = ["README.md", "config.json", "model.safetensors", "mwanda.json", "quantised.json"]


def fill(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"made": "up"}) if name.endswith("json") else name)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    fill(tmp_path / "source", ["config.json", "tokenizer.json", "vocab.txt", "LICENSE"])
    return tmp_path / "source"


def test_what_a_model_is_made_of_goes_along_and_the_rest_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    fill(source, ALONG + BEHIND + ANEW + [".hidden"])
    (source / "best.model").write_bytes(b"PK\x03\x04 a pickle")
    target.mkdir()
    with caplog.at_level(logging.INFO):
        assert copy_companions(source, target) == sorted(ALONG)
    there = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
    assert there == set(ALONG)
    assert (target / "vocab.txt").read_text() == "vocab.txt"
    left = {re.sub(r"(?<!custom_generate)/.*", "/", name) for name in [*BEHIND, "best.model"]}
    assert set(find_companions(source).left) == left
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("left behind, no part of the model: LICENSE.bak, a.GGUF, adapter_config")
    assert line.endswith(f"and {len(left) - 12} more")


def test_licences_by_their_names() -> None:
    for name in ("LICENCE", "license.txt", "Llama-LICENSE", "NOTICE", "COPYING", "TERMS_OF_USE",
                 "THIRD_PARTY_NOTICES.txt", "ACCEPTABLE_USE_POLICY.md", "gemma-terms-of-use.txt",
                 "EULA", "EULA.pdf", "LICENSES/MIT.txt", "licenses/Apache-2.0"):  # fmt: skip
        assert is_licence(name), name
    for name in ("search_terms.txt", "license_plates.jsonl", "licensed.txt", "x/LICENSE",
                 "LICENSE.old", "noticeable.txt", "eulalia.txt", "LICENSES/a/MIT.txt",
                 "LICENSES/table.jsonl", "licenses_old/MIT.txt"):  # fmt: skip
        assert not is_licence(name), name


def test_what_lies_beside_shards_in_a_folder_is_named(source: Path) -> None:
    fill(source, ["parts/a.safetensors", "parts/b.safetensors", "parts/notes.txt", "parts/x/y"])
    index = {"weight_map": {"w": "parts/a.safetensors", "v": "./parts/b.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    assert find_companions(source).left == ("parts/notes.txt", "parts/x/")


VOCABULARIES = {
    "sentencepiece": b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02\n\x0c\n\x03<s>\x15\x00\x00",
    "tiktoken": b"IQ== 0\nIg== 1\n",
}


@pytest.mark.parametrize("name", ["tokenizer.model", "odd.model"])
def test_a_vocabulary_that_ends_in_model_is_told_by_what_it_holds(source: Path, name: str) -> None:
    for data in VOCABULARIES.values():
        (source / name).write_bytes(data)
        assert name in find_companions(source).files
    for data in (b"PK\x03\x04", b"\x80\x04", b"Notes on\nthe model", b"", b"\n \n Notes"):
        (source / name).write_bytes(data)
        known = name == "tokenizer.model" and not data.startswith((b"PK", b"\x80"))
        assert (name in find_companions(source).files) is known


def test_own_code_and_what_it_names_go_along(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    fill(source, ["model.safetensors", "rwkv_vocab_v1.txt", "odd.vocab", "table.json", "unused.py"])
    configs = {
        "config.json": {"auto_map": {"AutoConfig": "configuration_x.C", "AutoModel": "o/r--m.M",
                                     "AutoModelForCausalLM": "modeling_x.M"}},
        "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["tokenization_x.T", None]},
                                  "vocab_file": "odd.vocab"},
    }  # fmt: skip
    for name, data in configs.items():
        (source / name).write_text(json.dumps(data))
    code = {
        "configuration_x.py": "X = 1",
        "modeling_x.py": "from .configuration_x import X\ntry:\n    from .kernels import k\n"
        "except ImportError:\n    pass\nfrom . import cache_x, os\nFILES = 'training_args.bin'",
        "kernels.py": "from .absent import y",
        "cache_x.py": "T = 'table.json'",
        "tokenization_x.py": 'FILES = {"vocab_file": "rwkv_vocab_v1.txt"}',
    }
    for name, text in code.items():
        (source / name).write_text(text)
    fill(source, ["training_args.bin"])
    found = find_companions(source)
    assert set(found.files) == {*code, "tokenizer_config.json", "odd.vocab", "table.json",
                                "rwkv_vocab_v1.txt"}  # fmt: skip
    assert found.left == ("training_args.bin", "unused.py")
    assert found.missing == ("absent.py",)
    (tmp_path / "target").mkdir()
    copy_companions(source, tmp_path / "target")
    assert "code that is not there and was not copied: absent.py" in caplog.text


def test_links_to_shared_storage_are_copied_as_files(source: Path, tmp_path: Path) -> None:
    base, store = tmp_path / "base", tmp_path / "store"
    blob = tmp_path / "hub" / "models--a--b" / "blobs" / "9"
    snapshot = blob.parents[1] / "snapshots" / "1"
    for folder in (base, store, blob.parent, snapshot, tmp_path / "licenses", tmp_path / "out"):
        folder.mkdir(parents=True)
    places = {
        "tokenizer.json": base / "tokenizer.json",
        "merges.txt": store / f"{'0f' * 20}",
        "vocab.json": store / "llama3-vocab.json",
        "LICENSE": tmp_path / "licenses" / "Apache-2.0",
        "NOTICE": base / "NOTICE.txt",
        "tokenizer.model": blob,
        "vocab.txt": source / "inside.txt",
    }
    for name, place in places.items():
        (source / name).unlink(missing_ok=True)
        place.write_text(name)
        (source / name).symlink_to(place)
    (snapshot / "special_tokens_map.json").symlink_to(os.path.relpath(blob, snapshot))
    (source / "special_tokens_map.json").symlink_to(snapshot / "special_tokens_map.json")
    copied = copy_companions(source, tmp_path / "out")
    assert set(copied) == {*places, "special_tokens_map.json"}
    for name in places:
        assert not (tmp_path / "out" / name).is_symlink()
        assert (tmp_path / "out" / name).read_text() == name


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda p: p.symlink_to("gone.json"), "a link to gone.json, where nothing is"),
    "a loop": (lambda p: p.symlink_to(p.name), "link"),
    "a folder": (lambda p: p.symlink_to(p.parents[1]), "a folder"),
    "a folder itself": (lambda p: p.mkdir(), "found a folder; put the file itself in its place"),
    "a device": (lambda p: p.symlink_to("/dev/null"), "/dev/null, no regular file"),
    "a pipe": (lambda p: os.mkfifo(p), "found no regular file; put the file itself"),
    "a secret": (lambda p: p.symlink_to("/etc/passwd"), "/etc/passwd, in a system folder;"),
    "of its name in /proc": (
        lambda p: p.symlink_to(f"/proc/self/root/etc/{p.name}"), "nothing is"
    ),
    "another file": (
        lambda p: (p.parents[1] / "id").write_text("x") and p.symlink_to(p.parents[1] / "id"),
        "id, a path that leaves it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["tokenizer.json", "LICENSE", "generation_config.json"])
@pytest.mark.parametrize("kind", BAD)
def test_a_link_for_a_bad_reason_is_refused(source: Path, kind: str, name: str) -> None:
    if (kind, name) == ("a folder itself", "LICENSE"):
        return  # left behind: no folder is a licence
    (source / name).unlink(missing_ok=True)
    make, says = BAD[kind]
    make(source / name)
    with pytest.raises(InputError) as caught:
        find_companions(source)
    for part in (f"{source}: {name}", "expected a file", says):
        assert part in str(caught.value)


def test_a_message_speaks_of_a_link_only_where_one_is(source: Path) -> None:
    (source / "tokenizer.json").unlink()
    os.mkfifo(source / "tokenizer.json")
    with pytest.raises(InputError) as caught:
        find_companions(source)
    assert "link" not in str(caught.value)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs /dev/shm")
def test_a_link_into_storage_below_a_system_folder_is_followed(source: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        there = Path(place) / "tokenizer.json"
        shutil.move(source / "tokenizer.json", there)
        (source / "tokenizer.json").symlink_to(there)
        assert find_companions(source).files["tokenizer.json"] == there
        (source / "vocab.txt").unlink()
        (source / "vocab.txt").symlink_to(there)
        with pytest.raises(InputError, match="a path that leaves it"):
            find_companions(source)


def test_a_file_that_cannot_be_read_is_refused(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(
        InputError, match=r"vocab\.txt: .*Permission denied; change its permissions"
    ):
        real_file(source, "vocab.txt")


def test_a_link_beside_the_model_that_is_no_part_of_it_is_left(source: Path) -> None:
    (source / "data").symlink_to("nowhere")
    (source / "runs").symlink_to("/etc")
    assert find_companions(source).left == ("data", "runs/")


def test_a_bad_link_is_told_before_the_work(tiny: Tiny, tmp_path: Path) -> None:
    source = shutil.copytree(tiny("llama"), tmp_path / "source")
    (source / "generation_config.json").unlink(missing_ok=True)
    (source / "generation_config.json").symlink_to("gone")
    for run in (
        lambda: mwanda.prune(source, out=tmp_path / "out", criterion="magnitude",
                             allocation="uniform"),
        lambda: mwanda.quantise(source, tmp_path / "out"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"generation_config\.json: .*where nothing is"):
            run()
    assert not (tmp_path / "out").exists()


def test_a_linked_model_is_pruned_whole_and_verifies(tiny: Tiny, tmp_path: Path) -> None:
    cache = tmp_path / "models--a--b" / "blobs"
    cache.mkdir(parents=True)
    source = tmp_path / "source"
    source.mkdir()
    base = shutil.copytree(tiny("llama"), tmp_path / "base")
    for number, path in enumerate(sorted(base.iterdir())):
        if path.suffix == ".safetensors":  # as huggingface-cli --local-dir once wrote it
            shutil.move(path, cache / str(number))
            (source / path.name).symlink_to(cache / str(number))
        else:
            (source / path.name).symlink_to(path)
    out = tmp_path / "out"
    made = mwanda.prune(source, out=out, calibration=windows_file(tmp_path), criterion="wanda",
                        allocation="uniform")  # fmt: skip
    assert "tokenizer.json" in made.manifest.files
    assert not mwanda.verify(out, against=source).problems
    (out / "tokenizer.json").unlink()
    assert mwanda.verify(out, against=source).problems


def test_verify_misses_what_the_source_has_and_the_folder_never_got(
    tiny: Tiny, tmp_path: Path
) -> None:
    source = shutil.copytree(tiny("llama"), tmp_path / "source")
    out = tmp_path / "out"
    mwanda.prune(source, out=out, criterion="magnitude", allocation="uniform")
    (source / "merges.txt").write_text("x")
    assert mwanda.verify(out, against=source).problems == ("merges.txt: only in the source",)


def test_weights_of_the_same_name_elsewhere_are_read(tiny: Tiny, tmp_path: Path) -> None:
    source = shutil.copytree(tiny("llama"), tmp_path / "source")
    shutil.move(source / "model.safetensors", tmp_path / "model.safetensors")
    (source / "model.safetensors").symlink_to(tmp_path / "model.safetensors")
    Checkpoint.open(source).close()
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="where nothing is"):
        Checkpoint.open(source)


def test_every_vocabulary_of_transformers_goes_along() -> None:
    """A new version may bring a tokenizer whose files are called otherwise."""
    import transformers

    names: set[str] = set()
    for path in Path(transformers.__file__).parent.glob("models/*/tokenization_*.py"):
        for found in re.findall(r"VOCAB_FILES_NAMES = \{(.*?)\}", path.read_text(), re.DOTALL):
            names |= set(re.findall(r":\s*\"([^\"]+)\"", found))
    assert len(names) > 15
    assert companion_names(names, lambda _: None) == names


def test_a_name_that_only_a_config_gives_follows_no_link_out(source: Path, tmp_path: Path) -> None:
    private = tmp_path / "private" / "credentials.json"
    private.parent.mkdir()
    private.write_text("{}")
    (source / "credentials.json").symlink_to(private)
    assert "credentials.json" not in find_companions(source).files
    (source / "config.json").write_text('{"model_type": "llama", "x": "credentials.json"}')
    with pytest.raises(InputError, match=r"credentials\.json: .*a path that leaves it"):
        find_companions(source)
