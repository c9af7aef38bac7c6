"""What is given from Python is taken as what it plainly is, or refused by one typed error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import InputError, Recipe, RunOptions
from mwanda.text.given import GivenText, open_text
from mwanda.text.rows import Document
from tests.pruning.pipeline.helpers import windows_file
from tests.support.folders_made import Tiny
from tests.support.text import write_corpus

SHORT: dict[str, Any] = {
    "criterion": "wanda", "allocation": "uniform", "windows": 2, "window_length": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, ["de", "sw"], lines=30)
    return folder


def lines(corpus: Path, tag: str) -> list[str]:
    return (corpus / f"{tag}.txt").read_text(encoding="utf-8").splitlines()


def masks(result: Any) -> list[str]:
    return [linear.mask_sha256 for linear in result.manifest.linears.values()]


@pytest.fixture(scope="module")
def wanted(tiny: Tiny, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("wanted") / "out"
    return masks(mwanda.prune(tiny("llama"), out=out, calibration=corpus, sparsity=0.5, **SHORT))


FORMS: dict[str, Callable[[Path], Any]] = {
    "path": lambda corpus: corpus,
    "text": str,
    "lists": lambda corpus: {tag: lines(corpus, tag) for tag in ("de", "sw")},
    "generators": lambda corpus: {t: (line for line in lines(corpus, t)) for t in ("sw", "de")},
    "records": lambda corpus: {
        "de": [{"text": line, "id": n} for n, line in enumerate(lines(corpus, "de"))],
        "sw": [Document(line) for line in lines(corpus, "sw")],
    },
    "a source": open_text,
}
FORMS["other codes"] = lambda corpus: {"deu": lines(corpus, "de"), "swh_Latn": lines(corpus, "sw")}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("memory", [True, False])
def test_text_in_any_form(
    tiny: Tiny, corpus: Path, tmp_path: Path, wanted: list[str], form: str, memory: bool
) -> None:
    given = {"calibration": FORMS[form](corpus), "sparsity": "0.5", **SHORT}
    if memory:
        model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
        made = mwanda.prune(model, tokenizer=str(tiny("llama")), **given)
    else:
        made = mwanda.prune(tiny("llama"), out=str(tmp_path / "out"), **given)
    assert masks(made) == wanted


def test_given_texts_are_known_again(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    texts = {"de": lines(corpus, "de")}
    made = mwanda.prune(tiny("llama"), out=tmp_path / "out", calibration=texts, **SHORT).manifest
    assert made.calibration is not None
    assert made.calibration.source == "given texts"
    assert made.calibration.languages["de"].source_sha256 == GivenText(texts).fingerprint("de")
    with pytest.raises(InputError, match="share sentences with it"):
        mwanda.evaluate(tmp_path / "out", texts)
    other = {"de": ["Etwas ganz anderes steht in diesem einen Satz."]}
    assert mwanda.evaluate(tmp_path / "out", other, languages="de").seen == ("de",)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["Ein Satz.", "Noch einer."], "found a list; say which language"),
        ((line for line in ["Ein Satz."]), "found a generator; say which language"),
        ({"Ein Satz."}, "found a set; say which language"),
        (7, "found a int"),
        (b"text", "found a bytes"),
        ({}, "given texts: expected a folder"),
        ({"de": "Ein Satz."}, "given texts, de: expected a list of texts, found a str"),
        ({"de": 7}, "given texts, de: expected a list of texts, found a int"),
        ({"de": []}, "given texts, de: expected text, found none"),
        ({"de": ["", " "]}, "given texts, de: expected text, found none"),
        ({"de": ["a", 7]}, "given texts, de, 2: expected a string in field 'text', found int"),
        ({"de": [None]}, "given texts, de: expected text, found none"),
        ({"de": ["a"], "deu": ["b"]}, "expected each language once, found de twice"),
        ({"klingonisch": ["a"]}, "language 'klingonisch'"),
        ({7: ["a"]}, "expected tags as keys, found 7"),
    ],
)
def test_text_that_is_none(tiny: Tiny, tmp_path: Path, given: Any, says: str) -> None:
    for call in (
        lambda: mwanda.prune(tiny("llama"), out=tmp_path / "out", calibration=given, **SHORT),
        lambda: mwanda.collect_statistics(
            tiny("llama"), tmp_path / "s.safetensors", calibration=given
        ),
        lambda: mwanda.plan(tiny("llama"), recipe={}, calibration=given),
        lambda: mwanda.read_texts(given),
        lambda: mwanda.evaluate(tiny("llama"), given),
        lambda: mwanda.read_parallel(given, "de-sw"),
    ):
        with pytest.raises(InputError) as error:
            call()
        if "generator" not in says:
            assert says in str(error.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "tags"),
    [("de", ["de"]), ("de, swa", ["de", "sw"]), (("sw", "de"), ["sw", "de"]), ({"sw", "de"}, None),
     ((tag for tag in ["sw"]), ["sw"]), ({"de": 1}.keys(), ["de"])],
)  # fmt: skip
def test_languages_in_any_form(corpus: Path, given: Any, tags: list[str] | None) -> None:
    assert list(mwanda.read_texts(corpus, given).texts) == (tags or ["de", "sw"])


@pytest.mark.parametrize(
    "given",
    [7, b"de", {"de": 1}, [7], ["de", None], [], "", ["de", "deu"], ["xx1"], [["de"]], ["de,sw"]],
)
def test_languages_that_are_none(tiny: Tiny, corpus: Path, tmp_path: Path, given: Any) -> None:
    with pytest.raises(InputError, match="language"):
        mwanda.read_texts(corpus, given)
    with pytest.raises(InputError, match="language"):
        mwanda.evaluate(tiny("llama"), corpus, languages=given)
    with pytest.raises(InputError, match="language"):
        mwanda.prune(tiny("llama"), out=tmp_path / "out", calibration=corpus, languages=given)


@pytest.mark.parametrize(
    ("given", "says"),
    [(None, "found none"), (7, "found a int"), (torch.nn.Linear(1, 1), "found a Linear"),
     (lambda text: text, "found a function"), ("/no/where", "tokenizer files"),
     ("org/model", "no such folder"), (__file__, "the folder that its files are in"),
     (dict, "found a type")],
)  # fmt: skip
def test_tokenizers_that_are_none(tiny: Tiny, corpus: Path, given: Any, says: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    for call in (
        lambda: mwanda.prune(model, tokenizer=given, calibration=corpus, **SHORT),
        lambda: mwanda.evaluate(model, corpus, tokenizer=given),
    ):
        with pytest.raises(InputError, match="tokenizer") as error:
            call()
        assert says in str(error.value)


def test_a_tokenizer_where_none_is_used(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    given = {"tokenizer": AutoTokenizer.from_pretrained(tiny("llama"))}
    with pytest.raises(InputError, match="none for a model on disk, which has its own"):
        mwanda.prune(tiny("llama"), out=tmp_path / "out", calibration=corpus, **given)
    with pytest.raises(InputError, match="none for a model on disk, which has its own"):
        mwanda.evaluate(tiny("llama"), corpus, **given)


def test_the_tokenizer_of_a_processor_or_a_folder(tiny: Tiny, corpus: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    own = AutoTokenizer.from_pretrained(tiny("llama"))
    processor = type("Processor", (), {"tokenizer": own})()
    results = [
        mwanda.evaluate(model, corpus, sentences=2, tokenizer=one).languages["de"].sentence_nll
        for one in (own, processor, tiny("llama"), str(tiny("llama")))
    ]
    assert all(one == results[0] for one in results)


def test_a_recipe_in_any_form(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    fields = {"sparsity": 0.25, "languages": "de", **SHORT}
    path.write_text("".join(f"{k}: {v}\n" for k, v in fields.items()), encoding="utf-8")
    plans = {
        mwanda.plan(tiny("llama"), recipe=one, calibration=corpus).removed
        for one in (path, str(path), fields, Recipe.build(fields))
    }
    assert len(plans) == 1
    for wrong in (7, [("sparsity", 0.5)], b"r.yaml"):
        with pytest.raises(InputError, match=r"recipe: expected mwanda\.Recipe"):
            mwanda.prune(tiny("llama"), out=tmp_path / "out", recipe=wrong)
    with pytest.raises(InputError, match="unknown field"):
        mwanda.prune(tiny("llama"), out=tmp_path / "out", recipe={"sparsty": 0.5})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"device": 0}, "device: expected text, found 0"),
        ({"batch_tokens": 0}, "batch_tokens: expected a whole number from 1, found 0"),
        ({"batch_tokens": "64"}, "batch_tokens: expected a whole number"),
        ({"activation_memory": "512MiB"}, "activation_memory: expected a whole number"),
        ({"overwrite": "no"}, "overwrite: expected True or False, found 'no'"),
    ],
)
def test_options_that_are_none(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as error:
        RunOptions(**fields)
    assert says in str(error.value)


def test_what_is_no_option_or_number(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    for call in (
        lambda given: mwanda.prune(tiny("llama"), out=tmp_path / "o", **given),
        lambda given: mwanda.evaluate(tiny("llama"), corpus, **given),
        lambda given: mwanda.quantise(tiny("llama"), tmp_path / "o", **given),
    ):
        with pytest.raises(InputError, match=r"options: expected mwanda\.RunOptions"):
            call({"options": {"device": "cpu"}})
    for name, wrong in (
        ("sentences", 0), ("sentences", "3"), ("seed", -1), ("seed", None), ("max_length", 1),
        ("generated", True), ("sentences", 2.5),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"{name}: expected a whole number from"):
            mwanda.evaluate(tiny("llama"), corpus, **{name: wrong})


def test_paths_that_are_none(tiny: Tiny, tmp_path: Path) -> None:
    model, file = tiny("llama"), windows_file(tmp_path)
    calls: list[Callable[[Any], Any]] = [
        lambda p: mwanda.prune(model, out=p or 0, calibration=file),
        lambda p: mwanda.prune(model, out=tmp_path / "o", statistics=p or 0),
        lambda p: mwanda.plan(p, recipe={}),
        lambda p: mwanda.collect_statistics(p, tmp_path / "o.safetensors", calibration=file),
        lambda p: mwanda.collect_statistics(model, p, calibration=file),
        lambda p: mwanda.quantise(p, tmp_path / "o"),
        lambda p: mwanda.quantise(model, p),
        lambda p: mwanda.pack(p, tmp_path / "o.mwz"),
        lambda p: mwanda.verify(p),
        lambda p: mwanda.diff(model, p),
        lambda p: mwanda.extract_masks(p, tmp_path / "o.safetensors"),
        lambda p: mwanda.apply_masks(p, model, tmp_path / "o"),
        lambda p: mwanda.load_packed(p),
        lambda p: mwanda.push(p, "a/b"),
        lambda p: mwanda.show_statistics(p),
        lambda p: mwanda.start_study(p, tmp_path / "o"),
    ]
    for call in calls:
        for wrong in (None, 7, b"x", ["x"]):
            with pytest.raises(InputError, match="expected a path"):
                call(wrong)
    with pytest.raises(InputError, match="two files or more, found 1"):
        mwanda.merge_statistics("ab.safetensors", tmp_path / "o.safetensors")


def test_verify_takes_text(tiny: Tiny, tmp_path: Path) -> None:
    mwanda.prune(tiny("llama"), out=tmp_path / "o", criterion="magnitude")
    assert not mwanda.verify(str(tmp_path / "o")).problems
