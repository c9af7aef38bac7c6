"""A trimmed folder is the same model on the text that it covers; all else is as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
)

import mwanda
from mwanda.errors import DataError, InputError, MwandaError
from mwanda.evaluation.baseline import check_baseline
from mwanda.pruned.trim import files as trim_files
from mwanda.pruned.trim import trim as trim_module
from mwanda.pruned.trim.files import _config, cut_sentencepiece
from mwanda.pruned.trim.token_ids import new_size
from mwanda.pruned.trim.vocabulary import Vocabulary
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.pruning.folder.manifest_records import packed_rows, rows_of
from mwanda.system.files import hash_files
from tests.pruned.trim.vocabularies import SIZE, learn, save, texts

ROWS = SIZE + 13
"""Of the embedding; tokens beyond are nobody's."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose vocabulary has six scripts. Do not write in it."""
    folder = save(learn("byte-fallback"), tmp_path_factory.mktemp("model"),
                  chat_template="<bos>{{ messages[0]['content'] }} Привет")  # fmt: skip
    return with_weights(folder, tied=False)


def with_weights(folder: Path, *, tied: bool, **more: Any) -> Path:
    config = LlamaConfig(
        vocab_size=ROWS, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, bos_token_id=1, eos_token_id=2,
        pad_token_id=0, tie_word_embeddings=tied, max_position_embeddings=512, **more,
    )  # fmt: skip
    torch.manual_seed(0)
    made: Any = AutoModelForCausalLM.from_config(config)
    made.save_pretrained(folder)
    return folder


def logits(folder: Path, ids: list[int]) -> torch.Tensor:
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        found: torch.Tensor = loaded(torch.tensor([ids])).logits[0]
    return found


class Counted(mwanda.Silent):
    """Blocks announced, and told."""

    announced = told = 0

    def stage(self, name: str, blocks: int, *how: Any, **more: Any) -> None:
        self.announced = blocks

    def block(self, tokens: int) -> None:
        self.told += 1


def test_progress_counts_bytes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trim_files, "PIECE", 256)
    counted = Counted()
    options = mwanda.RunOptions(progress=counted)
    mwanda.trim(model, tmp_path / "out", "de,hi", options=options)
    size = sum(one.nbytes for one in load_file(tmp_path / "out/model.safetensors").values())
    assert counted.announced == counted.told == size // 256


def test_covered_text_has_the_same_tokens_and_logits(model: Path, tmp_path: Path) -> None:
    made = mwanda.trim(model, tmp_path / "out", "de,hi")
    rows = read_manifest(tmp_path / "out").trims[0].old_ids
    assert made.plan.kept == len(rows) < made.plan.rows == ROWS
    assert len(rows) % 64 == 0
    assert made.checked > 50
    old, new = (AutoTokenizer.from_pretrained(folder) for folder in (model, tmp_path / "out"))
    for text in texts("de", "hi", every=5):
        before, after = old(text)["input_ids"], new(text)["input_ids"]
        assert before == [rows[one] for one in after]
    wanted = logits(model, before[:40])[:, rows]
    assert torch.allclose(logits(tmp_path / "out", after[:40]), wanted, atol=1e-6)
    assert new("Привет")["input_ids"] != old("Привет")["input_ids"] or "П" in new.get_vocab()
    assert new.decode(new("Жук 字")["input_ids"], skip_special_tokens=True) == "Жук 字"


def test_every_row_is_one_of_the_source_and_all_else_is_copied(model: Path, tmp_path: Path) -> None:
    """A row of zeros would have the logit 0, and take the probability where all are below."""
    mwanda.trim(model, tmp_path / "out", "ar")
    before, after = (load_file(f / "model.safetensors") for f in (model, tmp_path / "out"))
    rows = read_manifest(tmp_path / "out").trims[0].old_ids
    assert before.keys() == after.keys()
    for name, weight in after.items():
        cut = name in ("model.embed_tokens.weight", "lm_head.weight")
        assert torch.equal(weight, before[name][rows] if cut else before[name]), name


def test_ids_are_followed_wherever_they_are_named(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(model, source)
    change(source / "config.json", pad_token_id=SIZE - 1, image_token_id=700)
    change(source / "generation_config.json", suppress_tokens=[900, 901], eos_token_id=[2, 902])
    mwanda.trim(source, tmp_path / "out", "de")
    rows = read_manifest(tmp_path / "out").trims[0].old_ids
    config, generation = (
        json.loads((tmp_path / "out" / name).read_text())
        for name in ("config.json", "generation_config.json")
    )
    assert config["vocab_size"] == len(rows)
    assert [rows[config[n]] for n in ("pad_token_id", "image_token_id")] == [SIZE - 1, 700]
    assert [rows[one] for one in generation["suppress_tokens"]] == [900, 901]
    assert [rows[one] for one in generation["eos_token_id"]] == [2, 902]
    made = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert "<unused3>" not in made.get_vocab() or rows[made.get_vocab()["<unused3>"]] == 7
    assert max(made.get_vocab().values()) < len(rows)
    russian = made(" Привет", add_special_tokens=False)["input_ids"]  # the chat template's
    old = AutoTokenizer.from_pretrained(source)(" Привет", add_special_tokens=False)["input_ids"]
    assert [rows[one] for one in russian] == old


def change(path: Path, **fields: Any) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | fields))


def test_defaults_that_the_config_leaves_out_are_written(tmp_path: Path) -> None:
    """GPT-2's config names no ids when they are its class's defaults, which would stay behind."""
    folder = save(learn("byte-level"), tmp_path / "m")
    config = GPT2Config(vocab_size=SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=64)
    torch.manual_seed(0)
    made: Any = AutoModelForCausalLM.from_config(config)
    made.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2)
    made.save_pretrained(folder)
    path = folder / "config.json"
    data = json.loads(path.read_text())
    for name in ("bos_token_id", "eos_token_id", "vocab_size"):
        data.pop(name, None)
    path.write_text(json.dumps(data | {"vocab_size": SIZE, "bos_token_id": 1, "eos_token_id": 2}))
    mwanda.trim(folder, tmp_path / "out", "ru")
    after = json.loads((tmp_path / "out" / "config.json").read_text())
    assert after["vocab_size"] == read_manifest(tmp_path / "out").trims[0].rows - (
        SIZE - after["vocab_size"]
    )


def test_weights_that_the_config_names_are_called_otherwise(model: Path, tmp_path: Path) -> None:
    source = shutil.copytree(model, tmp_path / "source")
    change(source / "config.json", transformers_weights="model.safetensors")
    options = mwanda.RunOptions(max_shard_size=30_000)
    mwanda.trim(source, tmp_path / "out", "de", options=options)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert len(logits(tmp_path / "out", [5, 6])) == 2


def test_the_dtype_told_is_that_of_the_weights(model: Path, tmp_path: Path) -> None:
    """Not that of the products, which float16 on a CPU has not."""
    made: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float16)
    made.save_pretrained(shutil.copytree(model, tmp_path / "source"))
    mwanda.trim(tmp_path / "source", tmp_path / "out", "de")
    assert read_manifest(tmp_path / "out").dtype == "float16"


@pytest.mark.parametrize("tied", [True, False])
def test_prune_and_trim_commute(tmp_path: Path, tied: bool) -> None:
    source = with_weights(save(learn("unigram"), tmp_path / "m"), tied=tied)
    fields: dict[str, Any] = {"sparsity": 0.5, "criterion": "wanda", "allocation": "uniform",
                              "calibration": "bundled:udhr/first", "languages": ["de", "zh"],
                              "windows": 4, "window_length": 32}  # fmt: skip
    mwanda.trim(source, tmp_path / "t", "de,zh")
    mwanda.prune(tmp_path / "t", out=tmp_path / "tp", **fields)
    mwanda.prune(source, out=tmp_path / "p", **fields)
    mwanda.trim(tmp_path / "p", tmp_path / "pt", "de,zh")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("tp", "pt"))
    assert {name for name in one if not torch.equal(one[name], two[name])} == set()
    for folder in ("t", "tp", "pt"):
        found = mwanda.verify(tmp_path / folder, against=source)
        assert found.problems == ()
        assert any("ids of the trim" in note for note in found.notes)
    assert mwanda.verify(tmp_path / "tp", against=tmp_path / "t").problems == ()
    assert mwanda.diff(tmp_path / "p", tmp_path / "pt").total.differing == 0
    for baseline in ("p", "m"):
        assert check_baseline(tmp_path / "pt", tmp_path / baseline, refuse=True)
    card = (tmp_path / "pt" / "README.md").read_text()
    assert "mwanda trim FOLDER --out TRIMMED --languages de,zh --by script" in card


def test_files_are_hashed_while_their_bytes_are_in_memory(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashed at the end, 8 billion parameters are read from the disk twice more."""
    late: list[Path] = []

    def watched(paths: list[Path]) -> dict[Path, str]:
        late.extend(paths)
        return hash_files(paths)

    monkeypatch.setattr(trim_files, "hash_files", watched)
    mwanda.trim(model, tmp_path / "out", "de", options=mwanda.RunOptions(max_shard_size=3000))
    assert len([*(tmp_path / "out").glob("*.safetensors")]) > 1
    assert late
    assert not [path for path in late if path.suffix == ".safetensors"]
    assert mwanda.verify(tmp_path / "out", against=model).problems == ()


def test_the_vocabulary_is_gone_when_the_new_tokenizer_is_loaded(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 262,144 tokens both together take more than a gigabyte."""
    read, load, held = Vocabulary.read, trim_module.load_tokenizer, []
    parts: list[int] = []

    def kept(folder: Path) -> Vocabulary:
        held.append(read(folder))
        return held[-1]

    def loaded(folder: Path, **more: Any) -> Any:
        parts.append(sum(len(one.data) + len(vars(one)) for one in held))
        return load(folder, **more)

    monkeypatch.setattr(Vocabulary, "read", staticmethod(kept))
    monkeypatch.setattr(trim_module, "load_tokenizer", loaded)
    mwanda.trim(model, tmp_path / "out", "de")
    assert parts == [0, len(fields(Vocabulary))]


def test_trims_add_up(model: Path, tmp_path: Path) -> None:
    mwanda.trim(model, tmp_path / "one", "de,ru")
    mwanda.trim(tmp_path / "one", tmp_path / "two", "de")
    mwanda.trim(model, tmp_path / "at once", "de")
    two, once = (load_file(tmp_path / f / "model.safetensors") for f in ("two", "at once"))
    assert all(torch.equal(two[name], once[name]) for name in two)
    assert mwanda.verify(tmp_path / "two", against=model).problems == ()
    assert len(read_manifest(tmp_path / "two").trims) == 2


def test_a_changed_row_is_found(model: Path, tmp_path: Path) -> None:
    mwanda.trim(model, tmp_path / "out", "de")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    weights["model.embed_tokens.weight"][5, 3] += 1
    save_file(weights, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
    problems = mwanda.verify(tmp_path / "out", against=model).problems
    assert any("tensor model.embed_tokens.weight: 1 unpruned" in one for one in problems)


def test_a_plan_says_what_a_trim_leaves(model: Path, tmp_path: Path) -> None:
    plan = mwanda.plan_trim(model, "de,ar", also_scripts=["Hani"])
    made = mwanda.trim(model, tmp_path / "out", "de,ar", also_scripts=["Hani"])
    assert plan == made.plan
    assert set(plan.scripts) == {"Latn", "Arab", "Hani"}
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert plan.kept_weights == sum(weight.numel() for weight in weights.values())
    assert plan.kept_bytes == sum(weight.nbytes for weight in weights.values())
    assert plan.by_script["Deva"][1] == 0 < plan.by_script["Deva"][0]


def test_by_letters_is_smaller_and_as_exact(model: Path, tmp_path: Path) -> None:
    ask: dict[str, Any] = {"by": "letters", "text": "bundled:udhr/first"}
    with pytest.raises(MwandaError, match=r"zh \d"):  # few characters are in so little text
        mwanda.trim(model, tmp_path / "out", "zh", **ask)
    made = mwanda.trim(model, tmp_path / "out", "zh", allow_loss=True, **ask)
    assert made.plan.kept < mwanda.plan_trim(model, "zh").kept
    assert made.checked > 5


def test_a_lossy_choice_is_measured_and_has_to_be_allowed(model: Path, tmp_path: Path) -> None:
    ask: dict[str, Any] = {"by": "text", "text": "bundled:udhr", "budget": 384}
    with pytest.raises(MwandaError, match=r"held-out lines with their old tokens, found de \d"):
        mwanda.trim(model, tmp_path / "out", "de", **ask)
    assert not (tmp_path / "out").exists()
    made = mwanda.trim(model, tmp_path / "out", "de", allow_loss=True, **ask)
    assert made.plan.kept == 384
    one = made.plan.coverage["de"]
    assert one.share < 0.9
    assert one.growth > 1.05
    assert mwanda.verify(tmp_path / "out", against=model).problems == ()


def test_text_in_a_script_that_goes_is_refused(model: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "de.txt").write_text("\n".join(f"Права человека, {n}" for n in range(60)))
    ask: dict[str, Any] = {"by": "letters", "text": str(text)}
    with pytest.raises(MwandaError, match=r"de 0\.0% .* keep by script, or pass --allow-loss"):
        mwanda.trim(model, tmp_path / "out", "de", **ask)
    assert [*tmp_path.iterdir()] == [text]


def test_every_token_of_a_text_stays_without_a_budget(model: Path) -> None:
    plan = mwanda.plan_trim(model, "de", by="text", text="bundled:udhr", multiple=1)
    assert plan.kept < mwanda.plan_trim(model, "de", multiple=1).kept
    assert plan.coverage["de"].growth < 1.05


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"by": "sript"}, "did you mean 'script'"),
        ({"by": "text"}, "a source of text with --by text"),
        ({"text": "bundled:udhr"}, "leave it out"),
        ({"budget": 99}, "keeps all it names"),
        ({"by": "text", "text": "bundled:udhr", "budget": 0}, "a whole number from 1"),
        ({"by": "text", "text": "bundled:udhr", "budget": 200}, "rows that any text needs"),
        ({"multiple": 0}, "a whole number from 1"),
        ({"also_scripts": ["Wxyz"]}, "ISO 15924"),
        ({"languages": "klingonish"}, "language tag"),
    ],
)
def test_what_cannot_be_asked_for(
    model: Path, tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        mwanda.trim(model, tmp_path / "out", **{"languages": "de", **given})
    assert [*tmp_path.iterdir()] == []


def test_a_tensor_as_long_as_the_vocabulary_is_not_guessed_at(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(model, source)
    weights = load_file(source / "model.safetensors")
    weights["model.more.weight"] = torch.zeros(4, ROWS)
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"tensor model\.more\.weight: .* cannot be trimmed"):
        mwanda.trim(source, tmp_path / "out", "de")


def test_a_tied_head_that_is_stored_too_is_cut_with_it(tmp_path: Path) -> None:
    source = with_weights(save(learn("wordpiece"), tmp_path / "m"), tied=True)
    weights = load_file(source / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    made = mwanda.trim(source, tmp_path / "out", "ru")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert {len(after[n]) for n in made.plan.tensors} == {made.plan.kept}
    assert set(made.plan.tensors) == {"lm_head.weight", "model.embed_tokens.weight"}


@pytest.mark.parametrize(
    ("file", "fields", "words"),
    [
        ("config.json", {"eos_token_id": ROWS + 1}, "an id below"),
        ("generation_config.json", {"suppress_tokens": [99_999]}, "an id below"),
    ],
)
def test_an_id_that_has_no_row_is_refused(
    model: Path, tmp_path: Path, file: str, fields: dict[str, Any], words: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(model, source)
    change(source / file, **fields)
    with pytest.raises(InputError, match=words):
        mwanda.trim(source, tmp_path / "out", "de")


def test_a_promise_that_is_broken_stops_the_trim(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mwanda.pruned.trim.vocabulary import Vocabulary

    found = Vocabulary.within
    monkeypatch.setattr(
        Vocabulary, "within", lambda self, characters: frozenset([*found(self, characters)][::2])
    )
    with pytest.raises(DataError, match="the tokens that a text had before"):
        mwanda.trim(model, tmp_path / "out", "de")
    assert [*tmp_path.iterdir()] == []


def test_row_numbers_come_back() -> None:
    for kept in ([], [0], [5, 6, 7, 63, 64], [*range(100)]):
        assert rows_of(packed_rows(kept, 100), 100) == kept


def test_a_trimmed_folder_is_pruned_no_matter_the_family(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    """Byte tokens only: what goes are the rows that stand for nothing."""
    for family in ("bloom", "gpt2", "cohere", "gemma3"):
        made = mwanda.trim(tiny(family), tmp_path / family, "de")
        assert made.plan.kept == 259
        ids = [1, *range(70, 90)]
        assert torch.allclose(
            logits(tmp_path / family, ids), logits(tiny(family), ids)[:, :259], atol=1e-5
        )


def test_windows_and_statistics_of_the_whole_vocabulary_are_refused(
    model: Path, tmp_path: Path
) -> None:
    draw: dict[str, Any] = {"languages": ["de"], "windows": 2, "window_length": 16}
    plain: dict[str, Any] = {"sparsity": 0.5, "criterion": "wanda", "allocation": "uniform"}
    text = "bundled:udhr/first"
    mwanda.trim(model, tmp_path / "t", "de")
    mwanda.collect_statistics(model, tmp_path / "s.safetensors", calibration=text, **draw)
    with pytest.raises(InputError, match="with other weights"):
        mwanda.prune(tmp_path / "t", out=tmp_path / "o", statistics=tmp_path / "s.safetensors",
                     **plain)  # fmt: skip
    taken = mwanda.prune(model, out=tmp_path / "p", calibration=text, **plain, **draw).windows
    with pytest.raises(InputError, match="ids of another vocabulary; draw them again"):
        mwanda.prune(tmp_path / "t", out=tmp_path / "o", calibration=taken, **plain)
    again = mwanda.prune(model, out=tmp_path / "q", calibration=taken, **plain)
    assert again.manifest.linears == read_manifest(tmp_path / "p").linears


def test_only_what_a_config_left_to_its_class_and_changes_is_added() -> None:
    full = {"bos_token_id": 5, "eos_token_id": 1, "vocab_size": 9, "pad_token_id": None,
            "text_config": {"vocab_size": 9, "eos_token_id": 7, "hidden_size": 9}}  # fmt: skip
    full["id2label"] = {0: "LABEL_0"}
    made = _config({"text_config": {"a": 1}, "id2label": {}}, full, {1: 1, 5: 3, 7: 4}, 9)
    assert made == {
        "bos_token_id": 3, "vocab_size": 3, "id2label": {},
        "text_config": {"a": 1, "vocab_size": 3, "eos_token_id": 4},
    }  # fmt: skip


def test_a_row_of_zeros_would_take_the_probability(model: Path, tmp_path: Path) -> None:
    """The wrong way to a multiple of 64, and ours, where all real logits are far below 0."""
    source = tmp_path / "source"
    shutil.copytree(model, source)
    weights = load_file(source / "model.safetensors")
    hidden = last_hidden(source, [1, 20, 21])
    weights["lm_head.weight"] = -10 * hidden / hidden.norm() + 0.1 * weights["lm_head.weight"]
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    mwanda.trim(source, tmp_path / "out", "de")
    whole = logits(source, [1, 20, 21])[-1]
    assert whole.max() < -5
    rows = torch.tensor(read_manifest(tmp_path / "out").trims[0].old_ids)
    made = logits(tmp_path / "out", new_ids(rows, [1, 20, 21]))[-1]
    assert len(made) % 64 == 0
    assert torch.allclose(made.logsumexp(0), whole[rows].logsumexp(0), atol=1e-4)
    padded = torch.cat([made, torch.zeros(1)])
    assert padded.softmax(0)[-1] > 0.5


def last_hidden(folder: Path, ids: list[int]) -> torch.Tensor:
    """What the head makes logits of, at the last token."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        found: torch.Tensor = loaded.model(torch.tensor([ids])).last_hidden_state[0, -1]
    return found


def new_ids(rows: torch.Tensor, ids: list[int]) -> list[int]:
    return torch.searchsorted(rows, torch.tensor(ids)).tolist()


def test_masks_and_archives_of_a_trimmed_model(model: Path, tmp_path: Path) -> None:
    """A mask is of linears, so it fits both; an archive holds a trimmed folder bit for bit."""
    plain: dict[str, Any] = {"sparsity": 0.5, "criterion": "magnitude"}
    mwanda.prune(model, out=tmp_path / "p", **plain)
    mwanda.extract_masks(tmp_path / "p", tmp_path / "masks.safetensors")
    mwanda.trim(model, tmp_path / "t", "de")
    mwanda.apply_masks(tmp_path / "masks.safetensors", tmp_path / "t", tmp_path / "tm")
    mwanda.trim(tmp_path / "p", tmp_path / "pt", "de")
    one, two = (load_file(tmp_path / f / "model.safetensors") for f in ("tm", "pt"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    mwanda.pack(tmp_path / "pt", tmp_path / "a.mwz")
    mwanda.unpack(tmp_path / "a.mwz", tmp_path / "again")
    for path in (tmp_path / "pt").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_masks_bring_no_trim_to_another_model(model: Path, tmp_path: Path) -> None:
    plain: dict[str, Any] = {"criterion": "magnitude", "allocation": "uniform"}
    mwanda.prune(model, out=tmp_path / "p", **plain)
    mwanda.trim(tmp_path / "p", tmp_path / "pt", "de,hi")
    mwanda.trim(model, tmp_path / "t", "de,hi")
    mwanda.extract_masks(tmp_path / "pt", tmp_path / "m.safetensors")
    for source, out, trims in ((model, "a", 0), (tmp_path / "t", "b", 1)):
        mwanda.apply_masks(tmp_path / "m.safetensors", source, tmp_path / out)
        for against in (model, source):
            assert mwanda.verify(tmp_path / out, against=against).problems == ()
        card = (tmp_path / out / "README.md").read_text()
        assert card.count("vocabulary trimmed to") == trims


def test_a_vocabulary_of_sentencepiece_is_cut_too(tmp_path: Path) -> None:
    from sentencepiece import sentencepiece_model_pb2

    whole = sentencepiece_model_pb2.ModelProto()
    for number, piece in enumerate(["<unk>", "<s>", "</s>", "a", "ж", "b"]):
        whole.pieces.add(piece=piece, score=-number)
    whole.trainer_spec.pad_id, whole.trainer_spec.eos_id = 4, 2
    path = tmp_path / "tokenizer.model"
    path.write_bytes(whole.SerializeToString())
    cut = cut_sentencepiece(path, {0: 0, 1: 1, 2: 2, 3: 3, 5: 4})
    assert cut is not None
    made = sentencepiece_model_pb2.ModelProto.FromString(cut)
    assert [piece.piece for piece in made.pieces] == ["<unk>", "<s>", "</s>", "a", "b"]
    assert [piece.score for piece in made.pieces] == [0, -1, -2, -3, -5]
    special = made.trainer_spec
    assert (special.vocab_size, special.eos_id, special.pad_id) == (5, 2, -1)
    assert cut_sentencepiece(path, {0: 0, 5: 5}) is None  # ids that are not its places
    path.write_bytes(b"IQ== 0")
    assert cut_sentencepiece(path, {0: 0}) is None


@pytest.mark.parametrize(("value", "wanted"), [(9, 4), (7, 3), (8, 4), (None, None), ("9", None)])
def test_a_number_of_first_rows_is_those_that_are_left_of_them(value: Any, wanted: Any) -> None:
    assert new_size("unpadded_vocab_size", value, 9, [0, 1, 5, 7]) == wanted
