"""What vLLM is asked for, by a module in its place: it is not installed where tests run."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import mwanda
from mwanda import DataError, InputError, RunOptions
from mwanda.evaluation.runtimes.registry import RUNTIMES
from tests.support.folders_made import Tiny
from tests.support.models import CONTEXT

TEXTS = {"de": ["Alle Menschen sind frei.", "Ein Haus."], "sw": ["Habari ya asubuhi.", "Ndiyo."]}


class Engine:
    """Says 2 nats of every token, and refuses more room than the model has, as vLLM does."""

    asked: dict[str, Any]

    def __init__(self, **asked: Any) -> None:
        Engine.asked = asked
        if asked["max_model_len"] > CONTEXT:
            raise ValueError("max_model_len is greater than the derived max_model_len")
        config = SimpleNamespace(quantization=None, dtype=asked["dtype"])
        self.llm_engine = SimpleNamespace(model_config=config)

    def generate(self, given: list[Any], _how: Any, use_tqdm: bool) -> list[Any]:
        asked = [one["prompt_token_ids"] for one in given]
        assert max(map(len, asked)) < Engine.asked["max_model_len"]
        said = [[{token: SimpleNamespace(logprob=-2.0)} for token in ids] for ids in asked]
        return [SimpleNamespace(prompt_logprobs=one) for one in said]


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(LLM=Engine, SamplingParams=dict, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "vllm", made)


@pytest.mark.parametrize("length", [16, CONTEXT, None])
def test_the_token_that_is_generated_has_room_in_the_context(
    tiny: Tiny, length: int | None
) -> None:
    texts = TEXTS | {"en": ["All people are free and equal. " * 40]}
    found = mwanda.evaluate(tiny("llama"), texts, runtime="vllm", max_length=length)
    assert found.languages["sw"].nll == 2.0 * found.languages["sw"].tokens
    assert Engine.asked["max_model_len"] == min((length or CONTEXT) + 1, CONTEXT)


def test_a_plain_model_is_computed_in_float32(tiny: Tiny) -> None:
    mwanda.evaluate(tiny("llama"), TEXTS, runtime="vllm")
    assert Engine.asked["dtype"] == "float32"
    options = RunOptions(compute_dtype="bfloat16")
    mwanda.evaluate(tiny("llama"), TEXTS, runtime="vllm", options=options)
    assert Engine.asked["dtype"] == "bfloat16"


def test_on_a_processor_it_does_not_ask_for_nearly_all_memory(tiny: Tiny) -> None:
    mwanda.evaluate(tiny("llama"), TEXTS, runtime="vllm")
    assert 0 < Engine.asked["kv_cache_memory_bytes"] < 4 << 30


def test_what_it_logs_does_not_go_into_the_result(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "")  # put back afterwards
    monkeypatch.delenv("VLLM_LOGGING_STREAM")
    mwanda.evaluate(tiny("llama"), TEXTS, runtime="vllm")
    assert os.environ["VLLM_LOGGING_STREAM"] == "ext://sys.stderr"


def test_an_engine_that_dies_is_one_error(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise Exception("EngineCore encountered an issue.")

    monkeypatch.setattr(Engine, "generate", dies)
    with pytest.raises(DataError, match="a forward of vLLM, found EngineCore encountered"):
        mwanda.evaluate(tiny("llama"), TEXTS, runtime="vllm")


def test_its_absence_is_told_with_the_way_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vllm")
    with pytest.raises(InputError, match="serve it, and score with --runtime openai"):
        mwanda.evaluate("folder", TEXTS, runtime="vllm")
    assert "environment of its own" in RUNTIMES["vllm"].install
