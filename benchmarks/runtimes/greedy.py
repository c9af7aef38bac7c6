"""Greedy tokens of a runtime by its own decoding, for ``table.py``, in the runtime's environment.

python greedy.py RUNTIME ARTEFACT FOLDER   (a JSON list of lists of ids in, the same of new ids out)
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np

NEW = 24
"""Tokens after every prompt."""

Ids = list[int]


def transformers(artefact: str, prompts: list[Ids], _folder: str) -> list[Ids]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(artefact, dtype=torch.float32)
    how: dict[str, Any] = {"do_sample": False, "min_new_tokens": NEW, "max_new_tokens": NEW}
    return [model.generate(torch.tensor([ids]), **how)[0, len(ids) :].tolist() for ids in prompts]


def llama_cpp(artefact: str, prompts: list[Ids], _folder: str) -> list[Ids]:
    from llama_cpp import Llama

    model = Llama(artefact, n_ctx=512, n_threads=1, verbose=False)
    made = (model.generate(ids, temp=0.0, repeat_penalty=1.0, reset=True) for ids in prompts)
    return [[next(one) for _ in range(NEW)] for one in made]


def openvino(artefact: str, prompts: list[Ids], _folder: str) -> list[Ids]:
    from mwanda.evaluation.runtimes.openvino import open_artefact
    from mwanda.evaluation.runtimes.runtime import Asked

    model: Any = open_artefact(Asked(artefact, threads=1))
    found = []
    for prompt in prompts:
        ids = list(prompt)
        model._request.reset_state()
        for end in range(len(ids), len(ids) + NEW):
            start = 0 if end == len(prompt) else end - 1
            ids.append(int(np.argmax(model._logits(ids, start, end)[-1])))
        found.append(ids[len(prompt) :])
    return found


def ctranslate2(artefact: str, prompts: list[Ids], folder: str) -> list[Ids]:
    from ctranslate2 import Generator
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = [tokenizer.convert_ids_to_tokens(ids) for ids in prompts]
    made = Generator(artefact, intra_threads=1).generate_batch(
        words, sampling_topk=1, min_length=NEW, max_length=NEW, include_prompt_in_result=False
    )
    return [one.sequences_ids[0] for one in made]


def vllm(artefact: str, prompts: list[Ids], _folder: str) -> list[Ids]:
    os.environ["VLLM_LOGGING_STREAM"] = "ext://sys.stderr"  # its last word would be read as ours
    from vllm import LLM, SamplingParams

    from mwanda.evaluation.runtimes.vllm import KEYS_AND_VALUES

    model = LLM(
        artefact, dtype="float32", enforce_eager=True, max_model_len=512,
        kv_cache_memory_bytes=KEYS_AND_VALUES,
    )  # fmt: skip
    how = SamplingParams(temperature=0.0, min_tokens=NEW, max_tokens=NEW)
    made = model.generate([{"prompt_token_ids": ids} for ids in prompts], how, use_tqdm=False)
    return [list(one.outputs[0].token_ids) for one in made]


if __name__ == "__main__":
    runtime, artefact, folder = sys.argv[1:]
    ways = {"transformers": transformers, "llama.cpp": llama_cpp, "openvino": openvino,
            "ctranslate2": ctranslate2, "vllm": vllm}  # fmt: skip
    print(json.dumps(ways[runtime](artefact, json.load(sys.stdin), folder)))
