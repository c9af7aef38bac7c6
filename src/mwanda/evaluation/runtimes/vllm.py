"""vLLM in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mwanda.evaluation.runtimes.registry import not_an
from mwanda.evaluation.runtimes.runtime import Asked, Runtime, unopened
from mwanda.evaluation.token_batches import Piece
from mwanda.model.run.context import context_length
from mwanda.model.run.skeleton import load_config


def open_artefact(asked: Asked) -> Runtime:
    """A model folder, plain or quantised in a way that vLLM knows."""
    if not (asked.path / "config.json").is_file():
        raise not_an("vllm", asked)
    trust = asked.options.trust_remote_code
    config = load_config(asked.path, trust_remote_code=trust, quantised=True)
    most = min(asked.max_length, context_length(config, None) or asked.max_length)
    from vllm import LLM

    try:
        served = LLM(
            model=asked.artefact, tokenizer=None, skip_tokenizer_init=True, enforce_eager=True,
            dtype=asked.options.compute_dtype, trust_remote_code=trust,
            max_model_len=most + 1,  # one more is generated, and thrown away
        )  # fmt: skip
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise unopened(asked, "vLLM", error) from error
    return Vllm(served, config, most, asked)


class Vllm(Runtime):
    """An engine."""

    def __init__(self, served: Any, config: Any, most: int, asked: Asked) -> None:
        self._served = served
        self.context_length = most
        self.vocabulary = int(config.get_text_config(decoder=True).vocab_size)
        model = served.llm_engine.model_config
        self.told = {
            "quantisation": str(model.quantization or "none"),
            "computes_in": str(model.dtype).removeprefix("torch."),
            "threads": asked.threads,
        }

    def losses(self, pieces: Sequence[Piece]) -> Iterator[Sequence[float]]:
        from vllm import SamplingParams

        # 0: of every token of the prompt its own log-probability, and no others.
        how = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        given = [{"prompt_token_ids": list(piece.ids)} for piece in pieces]
        for piece, made in zip(
            pieces, self._served.generate(given, how, use_tqdm=False), strict=True
        ):
            places = range(piece.first, len(piece.ids))
            yield [-made.prompt_logprobs[place][piece.ids[place]].logprob for place in places]
