"""Tasks of a tiny model by lm-eval, against log-likelihoods summed here."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda.errors import DataError, InputError
from mwanda.evaluation.tasks import harness
from mwanda.evaluation.tasks.harness import CONNECTORS, drawn, harness_version
from mwanda.evaluation.tasks.published import read_task
from mwanda.evaluation.tasks.reading import stock_tasks
from mwanda.study.report.score_tables import mean_accuracy, tasks_text
from tests.support.tasks import write_xcopa, write_xwinograd
from tests.support.text import write_corpus

Tiny = Callable[..., Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both tasks. Do not write in them."""
    root = tmp_path_factory.mktemp("tasks")
    return {
        "xcopa": write_xcopa(root / "xcopa", ["et", "sw"]),
        "xwinograd": write_xwinograd(root / "dataset.tsv", ["en", "jp"]),
    }


def log_likelihood(model: Any, tokenizer: Any, context: str, continuation: str) -> float:
    """Of what follows the context, token by token, one text at a time."""
    ids = tokenizer(context + continuation)["input_ids"]
    start = len(tokenizer(context)["input_ids"])
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return sum(float(logits[place - 1, ids[place]]) for place in range(start, len(ids)))


def asked(task: str, tag: str, doc: dict[str, Any]) -> tuple[list[tuple[str, str]], int]:
    """Contexts and answers, and which is right."""
    if task == "xcopa":
        word = CONNECTORS[tag][doc["question"] == "effect"]
        context = f"{doc['premise'].strip()[:-1]} {word}"
        answers = [doc[c][0].lower() + doc[c][1:] for c in ("choice1", "choice2")]
        return [(context, f" {answer}") for answer in answers], doc["label"]
    before, after = doc["sentence"].split("_")
    pairs = [(before + doc[c], f" {after.strip()}") for c in ("option1", "option2")]
    return pairs, int(doc["answer"]) - 1


def test_accuracy_is_that_of_a_plain_loop(tiny: Tiny, files: dict[str, Path]) -> None:
    folder = tiny("llama")
    result = mwanda.evaluate_tasks(folder, files, items=4, seed=3)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for task, path in files.items():
        text = read_task(task, path)
        assert list(result.scores[task]) == list(text.documents)
        for tag, score in result.scores[task].items():
            assert list(score.ids) == drawn(4, len(text.documents[tag]), 3)
            right = []
            for place, found in zip(score.ids, score.log_likelihoods, strict=True):
                pairs, label = asked(task, tag, text.documents[tag][place])
                own = [log_likelihood(model, tokenizer, *pair) for pair in pairs]
                assert found == pytest.approx(own, abs=1e-3)
                right.append(own.index(max(own)) == label)
            assert score.correct == tuple(right)
            mean = sum(right) / 4
            assert score.accuracy == mean
            assert score.stderr == pytest.approx((mean * (1 - mean) / 3) ** 0.5)
            assert score.harness == harness_version()
    told = result.as_dict()
    assert told["tasks"]["xcopa"]["sw"]["items"] == 4
    assert "log_likelihoods" not in result.as_dict(each=False)["tasks"]["xcopa"]["sw"]
    assert "Estonian (et)" in tasks_text(result)

    memory = mwanda.evaluate_tasks(
        model, {"xcopa": files["xcopa"]}, languages=["swh"], items=4, seed=3, tokenizer=tokenizer
    )
    assert memory.scores["xcopa"] == {"sw": result.scores["xcopa"]["sw"]}  # alone or not
    other = mwanda.evaluate_tasks(
        model, {"xcopa": files["xcopa"]}, languages=["sw"], items=None, tokenizer=tokenizer
    ).scores["xcopa"]["sw"]
    assert other.ids == tuple(range(6))
    assert other.prompt_sha256 != result.scores["xcopa"]["sw"].prompt_sha256


def test_broken_weights_have_no_accuracy(tiny: Tiny, files: dict[str, Path]) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    with torch.no_grad():
        model.model.norm.weight[0] = math.nan
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    xcopa = {"xcopa": files["xcopa"]}
    with pytest.raises(DataError, match=r"xcopa, et: expected finite .* infinity in 4 of 4 items"):
        mwanda.evaluate_tasks(model, xcopa, items=4, tokenizer=tokenizer)


def test_prompts_are_lm_evals(files: dict[str, Path]) -> None:
    from lm_eval.tasks.xcopa import utils as xcopa
    from lm_eval.tasks.xwinograd import utils as xwinograd

    docs = read_task("xcopa", files["xcopa"]).documents["et"]
    for tag in CONNECTORS:
        made = harness.local_task("xcopa", tag, docs)
        for doc in docs:
            assert made.doc_to_text(doc) == getattr(xcopa, f"doc_to_text_{tag}")(doc)
            assert made.doc_to_choice(doc) == xcopa.doc_to_choice(doc)
            assert made.doc_to_target(doc) == doc["label"]
    docs = read_task("xwinograd", files["xwinograd"]).documents["en"]
    made = harness.local_task("xwinograd", "en", docs)
    for doc in docs:
        assert made.doc_to_text(doc) == xwinograd.doc_to_text(doc)
        assert made.doc_to_choice(doc) == xwinograd.doc_to_choice(doc)
        assert made.doc_to_target(doc) == xwinograd.doc_to_target(doc)


def test_items_are_drawn_alike() -> None:
    assert drawn(3, 9, 1) == drawn(3, 9, 1) != drawn(3, 9, 2)
    assert drawn(99, 4, 1) == drawn(None, 4, 1) == [0, 1, 2, 3]


def test_the_mean_of_parallel_items_counts_a_question_once() -> None:
    row = {"accuracy": 0.5, "stderr": (0.25 / 3) ** 0.5, "items": 4, "ids": [0, 1, 2, 3],
           "correct": [1, 0, 1, 0]}  # fmt: skip
    same = mean_accuracy({"a": row, "b": row})
    assert same["stderr"] == pytest.approx(row["stderr"])  # a second language says nothing new
    apart = mean_accuracy({"a": row, "b": {**row, "ids": [4, 5, 6, 7]}})
    assert apart["stderr"] == pytest.approx(row["stderr"] / 2**0.5)  # type: ignore[operator]


def test_one_item_has_no_standard_error(tiny: Tiny, files: dict[str, Path]) -> None:
    result = mwanda.evaluate_tasks(
        tiny("llama"), {"xcopa": files["xcopa"]}, languages=["et"], items=1
    )
    assert result.scores["xcopa"]["et"].stderr is None
    assert "±" not in tasks_text(result)


def test_lm_eval_is_left_as_it_was(tiny: Tiny, files: dict[str, Path]) -> None:
    import lm_eval.api.task
    from tqdm import tqdm

    assert lm_eval.api.task.tqdm is tqdm
    level = logging.getLogger("lm_eval").level
    harness.local_task("xcopa", "et", read_task("xcopa", files["xcopa"]).documents["et"])
    assert lm_eval.api.task.tqdm is tqdm
    assert logging.getLogger("lm_eval").level == level


@pytest.mark.parametrize(
    ("name", "has"),
    [("xnli", "de, el"), ("xstorycloze", "ar, en"), ("xcopa", "et, ht"), ("xwinograd", "fr, ja"),
     ("paws-x", "de, en"), ("m_mmlu", "ar, bn"), ("belebele", "sw"), ("lambada_mt", "de, en")],
)  # fmt: skip
def test_stock_tasks_are_known_by_language(name: str, has: str) -> None:
    with pytest.raises(InputError) as error:
        stock_tasks(name, ["tlh"])
    assert f"{name}, --languages: expected one of" in str(error.value)
    assert has in str(error.value)


def test_stock_tasks_on_data_as_the_hub_has_it(
    tiny: Tiny, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked = []

    def load(path: str, name: str, **_: Any) -> dict[str, Any]:
        asked.append((path, name))
        task = path.rpartition("/")[2]
        tag = "ja" if name == "jp" else name
        rows = datasets.Dataset.from_list(list(read_task(task, files[task]).documents[tag]))
        return {"test": rows, "validation": rows}

    monkeypatch.setattr(datasets, "load_dataset", load)
    how: dict[str, Any] = {"languages": ["sw", "ja"], "items": 3, "seed": 1}
    stock = mwanda.evaluate_tasks(
        tiny("llama"), {"xcopa": None, "xwinograd": None}, hub=True, **how
    )
    assert asked == [("cambridgeltl/xcopa", "sw"), ("Muennighoff/xwinograd", "jp")]
    assert stock.scores == mwanda.evaluate_tasks(tiny("llama"), files, **how).scores


def test_stock_tasks_need_the_hub(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(path: str, name: str, **_: Any) -> None:
        raise ConnectionError(f"no way to {path}")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(InputError, match="xnli, de: expected its data from the hub, found no way"):
        mwanda.evaluate_tasks(tiny("llama"), {"xnli": None}, languages=["de"], hub=True)


def test_a_language_without_a_prompt(tiny: Tiny, tmp_path: Path) -> None:
    folder = write_xcopa(tmp_path / "x", ["de"])
    with pytest.raises(InputError, match="xcopa, language 'de': expected one of et, "):
        mwanda.evaluate_tasks(tiny("llama"), {"xcopa": folder})


def test_an_answer_without_room(tiny: Tiny, tmp_path: Path) -> None:
    folder = write_xcopa(tmp_path / "x", ["et"])
    path = folder / "test.et.jsonl"
    long = path.read_text(encoding="utf-8").replace("Rain came", "Rain came " + "and went " * 200)
    path.write_text(long, encoding="utf-8")
    with pytest.raises(InputError, match="xcopa, et: expected answers of at least one token"):
        mwanda.evaluate_tasks(tiny("llama"), {"xcopa": folder})


def test_text_that_calibrated_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    calibration = tmp_path / "text"
    path = write_corpus(calibration, ["sw"], lines=60)["sw"]
    lines = path.read_text(encoding="utf-8").splitlines()
    folder = write_xcopa(tmp_path / "x", ["sw"], items=60)
    items = folder / "test.sw.jsonl"
    rows = [json.loads(row) for row in items.read_text(encoding="utf-8").splitlines()]
    for row, line in zip(rows, lines, strict=True):
        row["choice1"] = line
    items.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pruned = tmp_path / "pruned"
    mwanda.prune(tiny("llama"), out=pruned, calibration=calibration, windows=1, window_length=16,
                 criterion="wanda", allocation="uniform")  # fmt: skip
    with pytest.raises(InputError, match="expected text that did not calibrate the model"):
        mwanda.evaluate_tasks(pruned, {"xcopa": folder})
