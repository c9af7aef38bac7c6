"""A server's log-probabilities as scores, and one error for each way it can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import mwanda
from mwanda import Comparison, DataError, InputError
from tests.support.completions import answer, logprob, serving
from tests.support.folders_made import Tiny

TEXTS = {"de": ["Alle Menschen sind frei.", "Ein Haus."], "sw": ["Habari ya asubuhi.", "Ndiyo."]}


@pytest.fixture
def folder(tiny: Tiny) -> Path:
    return tiny("llama")


def evaluate(folder: Path, url: str, **more: Any) -> mwanda.Evaluation:
    return mwanda.evaluate("served", TEXTS, runtime="openai", url=url, tokenizer=folder, **more)


@pytest.mark.parametrize("end", ["", "/v1", "/v1/"])
def test_scores_are_what_the_server_said_of_the_ids(folder: Path, end: str) -> None:
    with serving() as (url, asked):
        found = evaluate(folder, url + end)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXTS["sw"][0])["input_ids"]
    assert asked[2]["prompt"] == ids
    assert asked[2]["model"] == "served"
    assert {one["path"] for one in asked} == {"/v1/completions"}
    wanted = -sum(logprob(ids, place) for place in range(1, len(ids)))
    assert found.languages["sw"].sentence_nll[0] == pytest.approx(wanted)
    assert found.settings["runtime"]["name"] == "openai"
    assert found.settings["runtime"]["server"] == "made-up/1"


def test_tokens_and_start_are_those_of_the_folder(folder: Path) -> None:
    with serving() as (url, _):
        found = evaluate(folder, url)
    Comparison.of(mwanda.evaluate(folder, TEXTS), found)


def test_long_text_goes_in_strides_and_every_token_counts_once(folder: Path) -> None:
    with serving() as (url, asked):
        found = evaluate(folder, url, max_length=8)
    assert max(len(one["prompt"]) for one in asked) == 8
    assert found.languages["de"].tokens == mwanda.evaluate(folder, TEXTS).languages["de"].tokens


def plain(_request: Any, _number: int) -> tuple[int, Any]:
    return 200, {"choices": [{"text": "", "logprobs": None}]}


def short(request: Any, number: int) -> tuple[int, Any]:
    made = answer(request, number)
    del made[1]["choices"][0]["logprobs"]["token_logprobs"][3:]
    return made


def holes(request: Any, number: int) -> tuple[int, Any]:
    made = answer(request, number)
    made[1]["choices"][0]["logprobs"]["token_logprobs"][2] = None
    return made


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (plain, "log-probabilities of every id of a prompt .* found an answer without any"),
        (short, "log-probabilities of every id of a prompt .* found 3 for "),
        (holes, "found some that are no numbers"),
        (lambda *_: (200, b"<html>"), "found no JSON"),
        (lambda *_: (200, []), "an answer without any"),
        (lambda *_: (400, {"error": "no echo"}), 'found status 400 .*"no echo"'),
        (lambda *_: (302, b""), "found status 302"),
        (lambda *_: (200, {"choices": []}), "an answer without any"),
        (lambda *_: None, "expected an answer to input 1 of 4, found Remote end closed"),
    ],
)
def test_a_server_that_cannot_is_told(folder: Path, answers: Any, said: str) -> None:
    with serving(answers) as (url, asked), pytest.raises(InputError, match=said):
        evaluate(folder, url)
    assert len(asked) == 1


def startless(request: Any, number: int) -> tuple[int, Any]:
    """As llama-cpp-python completes: the id that begins a text is left out."""
    status, body = answer(request, number)
    told = body["choices"][0]["logprobs"]["token_logprobs"]
    body["choices"][0]["logprobs"]["token_logprobs"] = [None, *told[2:]]
    return status, body | {"usage": {"completion_tokens": 1}}


def test_a_server_that_counts_nothing_is_taken(folder: Path) -> None:
    def uncounted(request: Any, number: int) -> tuple[int, Any]:
        status, body = answer(request, number)
        return status, body | {"usage": None}

    with serving(uncounted) as (url, _):
        assert evaluate(folder, url).languages["de"].tokens > 0


def test_a_server_that_leaves_out_the_start_is_refused(folder: Path) -> None:
    with serving(startless) as (url, _), pytest.raises(InputError, match="ids and 1 generated"):
        evaluate(folder, url)


def test_a_server_that_dies_midway_ends_the_work(folder: Path) -> None:
    dying = lambda request, number: answer(request, number) if number < 3 else None  # noqa: E731
    with serving(dying) as (url, _), pytest.raises(DataError, match="answer to input 3 of 4"):
        evaluate(folder, url)


def test_nobody_at_the_address(folder: Path) -> None:
    with serving() as (url, _):
        pass
    with pytest.raises(InputError, match="Connection refused; start the server"):
        evaluate(folder, url)


def test_addresses_that_are_none(folder: Path) -> None:
    for url in ("127.0.0.1:80", "ftp://here", "http://", "http://here:port", "http://[::1",
                "http://my host:80", "http://here:80/ä"):  # fmt: skip
        with pytest.raises(InputError, match="--url: expected an address"):
            evaluate(folder, url)


def test_nothing_is_kept_of_a_server(folder: Path, tmp_path: Path) -> None:
    with serving() as (url, _), pytest.raises(InputError, match="cache: expected an artefact"):
        evaluate(folder, url, cache=tmp_path)
