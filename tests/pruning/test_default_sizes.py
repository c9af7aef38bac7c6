"""Every command draws what context and text allow where no size is given, and says so once."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import InputError, Recipe, RunOptions
from mwanda.cli import main
from mwanda.model.source import load_tokenizer
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.text.window_files import load
from tests.pruning.pipeline.helpers import token_windows, windows_file
from tests.support.text import write_corpus, write_parallel

Tiny = Callable[..., Path]
SHAPES = {"am": (20, 127), "de": (128, 128), "sw": (128, 128)}
"""Of the tiny model's context of 128, one token per byte."""

LINE = (
    "calibration windows: fewer than 128 of 2048 tokens a language: the model's context is 128 "
    "tokens; am has text for 20 windows of 127 tokens"
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    write_corpus(folder, ["de", "sw"], lines=400)
    write_corpus(folder, ["am"], lines=20)
    return folder


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("little")
    write_corpus(folder, ["de"], lines=400)
    write_corpus(folder, ["am"], lines=3)
    return folder


def shapes_of(known: Any) -> dict[str, tuple[int, int]]:
    return {tag: (d.windows, d.tokens // d.windows) for tag, d in known.languages.items()}


PLAIN: dict[str, Any] = {"criterion": "wanda", "allocation": "uniform"}


def test_a_prune_and_its_plan(
    tiny: Tiny, text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tiny("llama")
    with caplog.at_level(logging.WARNING, logger="mwanda"):
        mwanda.prune(source, out=tmp_path / "out", calibration=text, **PLAIN)
        assert caplog.messages == [LINE]
        plan = mwanda.plan(source, recipe=Recipe.build(PLAIN), calibration=text)
        assert caplog.messages == [LINE] * 2
    manifest = read_manifest(tmp_path / "out")
    known = manifest.calibration
    assert known is not None
    assert shapes_of(known) == SHAPES
    assert (manifest.recipe["windows"], manifest.recipe["window_length"]) == (128, 128)
    assert known.length == 128
    assert plan.tokens == sum(count * length for count, length in SHAPES.values())


def test_a_model_in_memory(tiny: Tiny, text: Path) -> None:
    source = tiny("llama")
    model = AutoModelForCausalLM.from_pretrained(source)
    tokenizer = AutoTokenizer.from_pretrained(source)
    done = mwanda.prune(model, calibration=text, tokenizer=tokenizer, **PLAIN)
    assert done.windows is not None
    assert {tag: tuple(ids.shape) for tag, ids in done.windows.tokens.items()} == SHAPES


def test_statistics_and_windows(tiny: Tiny, text: Path, tmp_path: Path) -> None:
    source, file = tiny("llama"), tmp_path / "windows.safetensors"
    made = mwanda.collect_statistics(source, tmp_path / "s.safetensors", calibration=text)
    assert shapes_of(made.record.calibration) == SHAPES
    with pytest.raises(SystemExit) as caught:
        main(["windows", str(source), "--calibration", str(text), "--out", str(file)])
    assert caught.value.code == 0
    windows = load(file)
    assert {tag: tuple(ids.shape) for tag, ids in windows.tokens.items()} == SHAPES
    mwanda.prune(source, out=tmp_path / "file", calibration=file, **PLAIN)
    mwanda.prune(source, out=tmp_path / "text", calibration=text, **PLAIN)
    first, second = (read_manifest(tmp_path / name) for name in ("file", "text"))
    masks = [{n: r.mask_sha256 for n, r in one.linears.items()} for one in (first, second)]
    assert masks[0] == masks[1]


def test_windows_of_a_tokenizer_alone(tiny: Tiny, text: Path, tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(tiny("llama")).save_pretrained(tmp_path / "bare")
    from mwanda.pruning.draw_windows import draw_windows

    drawn = draw_windows(
        str(tmp_path / "bare"), tmp_path / "w.safetensors", str(text), languages=["de"]
    )
    count, length = drawn.tokens["de"].shape
    assert count < 128
    assert 1024 < length <= 2048


def test_the_tokenizer_that_drew_windows_is_not_loaded_again(
    tiny: Tiny, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mwanda.pruning import task
    from mwanda.pruning.draw_windows import draw_windows

    model = tmp_path / "model"
    shutil.copytree(tiny("llama"), model)
    drawn = tmp_path / "w.safetensors"
    draw_windows(str(model), drawn, str(text), languages=["de"], windows=2, length=32)
    asked = []

    def load_and_tell(folder: Path, **given: Any) -> Any:
        asked.append(folder)
        return load_tokenizer(folder, **given)

    monkeypatch.setattr(task, "load_tokenizer", load_and_tell)
    mwanda.prune(model, out=tmp_path / "one", calibration=drawn, **PLAIN)
    assert not asked
    (model / "tokenizer.json").write_text((model / "tokenizer.json").read_text() + "\n")
    mwanda.prune(model, out=tmp_path / "two", calibration=drawn, **PLAIN)  # the same tokens
    assert asked == [model]


@pytest.mark.parametrize(
    ("fields", "shapes"),
    [
        ({"windows": 3}, dict.fromkeys(SHAPES, (3, 128))),
        ({"window_length": 64}, {**dict.fromkeys(SHAPES, (128, 64)), "am": (40, 64)}),
        ({"windows": 30}, {**dict.fromkeys(SHAPES, (30, 128)), "am": (30, 85)}),
    ],
)
def test_a_size_that_was_given_stays(
    tiny: Tiny, text: Path, tmp_path: Path, fields: dict[str, int], shapes: dict[str, Any]
) -> None:
    done = mwanda.prune(tiny("llama"), out=tmp_path / "out", calibration=text, **PLAIN, **fields)
    assert shapes_of(done.manifest.calibration) == shapes


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"windows": 21, "window_length": 128}, "found 2521; .*--windows 19 --window-length 128"),
        ({"window_length": 129}, "context of 128 tokens, found 129; pass --window-length 128"),
    ],
)
@pytest.mark.parametrize("job", ["prune", "plan", "stats"])
def test_what_was_asked_for_and_cannot_be_had_is_refused(
    tiny: Tiny, text: Path, tmp_path: Path, fields: dict[str, int], message: str, job: str
) -> None:
    source = tiny("llama")
    calls = {
        "prune": lambda: mwanda.prune(
            source, out=tmp_path / "out", calibration=text, **PLAIN, **fields
        ),
        "plan": lambda: mwanda.plan(source, recipe=Recipe.build(PLAIN | fields), calibration=text),
        "stats": lambda: mwanda.collect_statistics(
            source, tmp_path / "s.safetensors", calibration=text, **fields
        ),
    }
    with pytest.raises(InputError, match=message):
        calls[job]()
    assert not list(tmp_path.glob("[!.]*"))


def test_below_the_floor_the_message_can_be_pasted(
    tiny: Tiny, little: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = str(tiny("llama")), tmp_path / "out"
    words = ["prune", source, "--out", str(out), "--calibration", str(little),
             "--criterion", "wanda", "--allocation", "uniform"]  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.count("error:") == 1
    assert "language 'am': expected 16256 tokens" in told
    assert "or by default at least 1024, found 294; add text" in told
    for paste, shapes in (
        ("--languages de", {"de": (128, 128)}),
        ("--windows 2 --window-length 128", {"am": (2, 128), "de": (2, 128)}),
        ("--allow-short", {"am": (3, 99), "de": (128, 128)}),
    ):
        assert paste in told
        with pytest.raises(SystemExit) as caught:
            main([*words, "--overwrite", *paste.split()])
        assert caught.value.code == 0
        assert shapes_of(read_manifest(out).calibration) == shapes


def test_first_tokens_that_do_not_count_leave_some(tiny: Tiny, text: Path, tmp_path: Path) -> None:
    source = tiny("llama")
    for skip, fine in ((126, True), (127, False), (300, False)):
        fields = {"skip_first_tokens": skip, **PLAIN}
        if fine:
            mwanda.prune(source, out=tmp_path / "out", calibration=text, **fields)
            continue
        with pytest.raises(InputError, match=r"--skip-first-tokens: expected fewer than the 127"):
            mwanda.prune(source, out=tmp_path / "more", calibration=text, **fields)


def test_a_search(tiny: Tiny, text: Path, tmp_path: Path) -> None:
    from mwanda.evaluation.gate import Gate

    texts = mwanda.read_texts(write_parallel(tmp_path / "eval", ["de", "am"]))
    found = mwanda.search_sparsity(
        tiny("llama"), texts, Gate("900%"), calibration=text, out=tmp_path / "out", step=0.3,
        highest=0.3, criterion="wanda", allocation="uniform",
        options=RunOptions(allow_overlap=True),
    )  # fmt: skip
    assert found.sparsity == 0.3
    assert shapes_of(read_manifest(tmp_path / "out").calibration) == SHAPES


@pytest.mark.parametrize("mode", ["dense", "sequential"])
@pytest.mark.parametrize("given", [False, True])
def test_a_study(tiny: Tiny, text: Path, tmp_path: Path, mode: str, given: bool) -> None:
    write_parallel(tmp_path / "eval", ["de", "am"])
    recipe: dict[str, Any] = {"mode": mode}
    if given:
        recipe |= {"windows": 21, "window_length": 128}
    study = {
        "models": {"m": str(tiny("llama"))}, "calibration": str(text), "criteria": ["wanda"],
        "allocations": ["uniform"],
        "recipe": recipe, "evaluation": {"text": str(tmp_path / "eval")},
        "run": {"compute_dtype": "float32", "allow_overlap": True},
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    folder = tmp_path / "results"
    with pytest.raises(SystemExit) as caught:
        main(["study", "run", str(tmp_path / "study.yaml"), "--out", str(folder)])
    results = [json.loads(path.read_text()) for path in folder.rglob("*.json")]
    tokens = [one["tokens"] for one in results if isinstance(one, dict) and "tokens" in one]
    if given:  # too much for one language
        assert caught.value.code == 1
        assert tokens == []
        return
    assert caught.value.code == 0
    assert tokens == [sum(count * length for count, length in SHAPES.values())]


def test_a_short_context_of_another_kind(tmp_path: Path, text: Path) -> None:
    from transformers import MptConfig

    from tests.model.run.families.test_context import saved

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = MptConfig(vocab_size=300, d_model=32, n_heads=4, n_layers=2, max_seq_len=64)
        source = saved(tmp_path / "mpt", config)
    done = mwanda.prune(source, out=tmp_path / "out", calibration=text, **PLAIN)
    assert shapes_of(done.manifest.calibration)["de"] == (128, 64)


def test_sizes_that_windows_do_not_have_are_said_to_play_no_part(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given: dict[str, Any] = {
        "calibration": windows_file(tmp_path), "criterion": "wanda", "allocation": "uniform"
    }  # fmt: skip
    with caplog.at_level(logging.INFO, logger="mwanda"):
        mwanda.prune(tiny("llama"), out=tmp_path / "a", **given)
        assert "plays no part" not in caplog.text
        mwanda.prune(tiny("llama"), out=tmp_path / "b", windows=99, window_length=16, **given)
    lengths = {ids.shape[1] for ids in token_windows().values()}
    said = [one for one in caplog.messages if one.endswith("plays no part")]
    assert len(said) == 2
    assert said[0].endswith("; 99 plays no part")
    assert f"--window-length of {min(lengths)}" in said[1]
    assert said[1].endswith("; 16 plays no part")
