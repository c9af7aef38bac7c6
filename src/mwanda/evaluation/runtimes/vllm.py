"""vLLM in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mwanda.errors import DataError
from mwanda.evaluation.runtimes.registry import not_an
from mwanda.evaluation.runtimes.runtime import Asked, Runtime, said_of, unopened
from mwanda.evaluation.token_batches import Piece
from mwanda.model.run.context import context_length
from mwanda.model.run.skeleton import load_config, quantisation_of

PRINTED = "what vLLM printed before says why"

KEYS_AND_VALUES = 2 << 30
"""Bytes on a processor, where vLLM by itself wants 92 % of the memory, and refuses where others use
some."""


def open_artefact(asked: Asked) -> Runtime:
    """A model folder, plain or quantised in a way that vLLM knows."""
    if not (asked.path / "config.json").is_file():
        raise not_an("vllm", asked)
    trust = asked.options.trust_remote_code
    config = load_config(asked.path, trust_remote_code=trust, quantised=True)
    room = asked.max_length + 1  # one more is generated, and thrown away
    room = min(room, context_length(config, None) or room)
    chosen = asked.options.compute_dtype
    # By itself vLLM takes bfloat16 for a float32 model; a quantised one names its own.
    dtype = "float32" if chosen == "auto" and quantisation_of(config) is None else chosen
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # stdout is for the result
    from vllm import LLM

    try:
        served = LLM(
            model=asked.artefact, tokenizer=None, skip_tokenizer_init=True, enforce_eager=True,
            dtype=dtype, trust_remote_code=trust, max_model_len=room,
            kv_cache_memory_bytes=None if asked.on_gpu else KEYS_AND_VALUES,
        )  # fmt: skip
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise unopened(asked, "vLLM", error, fix=PRINTED) from error
    return Vllm(served, config, room - 1, asked)


class Vllm(Runtime):
    """An engine."""

    def __init__(self, served: Any, config: Any, most: int, asked: Asked) -> None:
        self._served, self._name = served, asked.artefact
        self.context_length = most
        self.vocabulary = int(config.get_text_config(decoder=True).vocab_size)
        model = served.llm_engine.model_config
        self.told = {
            "quantisation": str(model.quantization or "none"),
            "computes_in": str(model.dtype).removeprefix("torch."),
            "threads": os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "as many as vLLM takes"),
        }

    def losses(self, pieces: Sequence[Piece]) -> Iterator[Sequence[float]]:
        from vllm import SamplingParams

        # 0: of every token of the prompt its own log-probability, and no others.
        how = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        given = [{"prompt_token_ids": list(piece.ids)} for piece in pieces]
        try:
            answers = self._served.generate(given, how, use_tqdm=False)
        except Exception as error:  # its engine is another process, whose errors are of many kinds
            raise DataError(
                self._name, expected="a forward of vLLM", found=said_of(error), fix=PRINTED
            ) from error
        for piece, made in zip(pieces, answers, strict=True):
            places = range(piece.first, len(piece.ids))
            yield [-made.prompt_logprobs[place][piece.ids[place]].logprob for place in places]
