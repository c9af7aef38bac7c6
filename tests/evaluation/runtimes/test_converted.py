"""CTranslate2 and OpenVINO, by modules in their places: they are not installed where tests run.
Both compute with the model that transformers loads, so scores have to be the folder's own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import mwanda
from mwanda import DataError, InputError, RunOptions
from mwanda.evaluation.runtimes import openvino
from tests.support.folders_made import Tiny

TEXTS = {"de": ["Alle Menschen sind frei und gleich geboren.", "Ein Haus."], "sw": ["Ndiyo."]}
NAMES = {"ctranslate2": "model.bin", "openvino": "openvino_model.xml"}


class Tensor(SimpleNamespace):
    """Logits in the memory of a device."""

    device = "cpu"

    def __array__(self, *_: Any, **_more: Any) -> Any:
        return self.values


class Request:
    """What came before is kept until ``reset_state``, as by a model with a key-value cache."""

    def __init__(self, forward: Callable[[list[int]], Any]) -> None:
        self.forward, self.ids, self.values = forward, list[int](), np.zeros(0)
        self.query_state = lambda: ["a cache"]
        self.reset_state = lambda: self.ids.clear()

    def infer(self, given: dict[str, Any]) -> None:
        new = given["input_ids"][0].tolist()
        places = given["position_ids"][0].tolist()
        assert places == [*range(len(self.ids), len(self.ids) + len(new))]
        assert given["attention_mask"].shape == (1, len(self.ids) + len(new))
        self.ids += new
        self.values = self.forward(self.ids)[:, -len(new) :]

    def get_tensor(self, _name: str) -> Any:
        return SimpleNamespace(data=self.values)


class Compiled:
    def __init__(self, forward: Callable[[list[int]], Any], width: int) -> None:
        self.create_infer_request = lambda: Request(forward)
        names = ("input_ids", "attention_mask", "position_ids")
        self.inputs = [SimpleNamespace(get_names=lambda name=name: {name}) for name in names]
        last = SimpleNamespace(is_static=True, get_length=lambda: width)
        self.outputs = [
            SimpleNamespace(get_names=lambda: {"logits"}, get_partial_shape=lambda: [None, last])
        ]

    def get_property(self, name: str) -> str:
        if name != "KV_CACHE_PRECISION":
            raise RuntimeError("no such property")
        return "u8"


@pytest.fixture(params=sorted(NAMES))
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(
    runtime: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """An artefact, the folder it was made of, and a forward that a test may put another for."""
    folder, artefact = tiny("llama"), tmp_path / "artefact"
    artefact.mkdir()
    (artefact / NAMES[runtime]).touch()
    model: Any = AutoModelForCausalLM.from_pretrained(folder)

    @torch.no_grad()
    def forward(ids: list[int]) -> Any:
        return model(torch.tensor([ids])).logits.numpy()

    here = SimpleNamespace(folder=folder, artefact=artefact, forward=forward)
    width = int(model.config.vocab_size)

    class Generator:
        compute_type = "int8_float32"

        def __init__(self, _path: str, **asked: Any) -> None:
            if asked["compute_type"] not in ("default", "float32"):
                raise ValueError("unsupported compute type")

        def forward_batch(self, ids: list[list[int]]) -> Tensor:
            return Tensor(values=here.forward(ids[0]))

    node = SimpleNamespace(
        get_type_name=lambda: "Constant", get_output_shape=lambda _: [4],
        get_output_element_type=lambda _: SimpleNamespace(get_type_name=lambda: "i8"),
    )  # fmt: skip
    core = SimpleNamespace(
        read_model=lambda _: SimpleNamespace(get_ops=lambda: [node]),
        compile_model=lambda *_: Compiled(lambda ids: here.forward(ids), width),
    )
    made = {
        "ctranslate2": {"Generator": Generator,
                        "contains_model": lambda path: (Path(path) / "model.bin").is_file()},
        "openvino": {"Core": lambda: core},
    }[runtime]  # fmt: skip
    module = SimpleNamespace(__spec__=SimpleNamespace(), **made)
    monkeypatch.setitem(sys.modules, runtime, module)
    return here


def evaluate(runtime: str, served: SimpleNamespace, **more: Any) -> mwanda.Evaluation:
    how = {"runtime": runtime, "tokenizer": served.folder} | more
    return mwanda.evaluate(served.artefact, TEXTS, **how)


@pytest.mark.parametrize("chunk", [4, 256])
def test_scores_are_those_of_the_model_in_it(
    runtime: str, served: SimpleNamespace, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "CHUNK", chunk)
    own, found = mwanda.evaluate(served.folder, TEXTS), evaluate(runtime, served)
    for tag, result in own.languages.items():
        assert found.languages[tag].sentence_nll == pytest.approx(result.sentence_nll, rel=1e-5)
    told = found.settings["runtime"]
    assert told["device"] == "cpu"
    assert told["threads"] == torch.get_num_threads()
    if runtime == "openvino":
        assert (told["quantisation"], told["kv_cache_precision"]) == ("i8 100 %", "u8")
    else:
        assert told["quantisation"] == "int8_float32"


def test_what_fails_on_the_way_is_one_error(runtime: str, served: SimpleNamespace) -> None:
    def broken(_ids: list[int]) -> Any:
        raise RuntimeError("no kernel\nfor this")

    served.forward = broken
    with pytest.raises(DataError, match=r"expected a forward of .*, found no kernel for this"):
        evaluate(runtime, served)


def test_an_artefact_of_another_kind_is_refused(
    runtime: str, served: SimpleNamespace, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(served.folder, other)
    with pytest.raises(InputError, match=f"for --runtime {runtime}, found a folder of another"):
        mwanda.evaluate(other, TEXTS, runtime=runtime)


@pytest.mark.parametrize("device", ["xpu", "nonsense"])
def test_a_device_that_it_does_not_take_is_refused(
    runtime: str, served: SimpleNamespace, device: str
) -> None:
    with pytest.raises(InputError, match=f"--device {device}: expected auto, cpu or cuda"):
        evaluate(runtime, served, options=RunOptions(device=device))


def test_a_dtype_that_it_does_not_know_is_its_own_to_tell(
    runtime: str, served: SimpleNamespace
) -> None:
    if runtime == "ctranslate2":
        with pytest.raises(InputError, match="choose another --compute-dtype"):
            evaluate(runtime, served, options=RunOptions(compute_dtype="float16"))


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(
    served: SimpleNamespace, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runtime == "openvino":
        monkeypatch.setattr(openvino, "_vocabulary", lambda _compiled: 3)
    else:
        (served.artefact / "vocabulary.json").write_text('["a", "b", "c"]')
    with pytest.raises(InputError, match="vocabulary"):
        evaluate(runtime, served)
