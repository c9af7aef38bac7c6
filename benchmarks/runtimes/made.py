"""Artefacts that no command line makes, for ``table.py``, in the environment of what makes them.

python made.py gguf FILE OUT TYPE
python made.py compressed FOLDER OUT SCHEME [gptq|awq DATA]
python made.py transformers FOLDER OUT torchao-int8|bitsandbytes-nf4
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def gguf(source: str, out: str, kind: str) -> None:
    """A GGUF file in one of llama.cpp's types or its own mixtures of them."""
    import llama_cpp

    how = llama_cpp.llama_model_quantize_default_params()
    how.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    how.nthread = 1
    code = llama_cpp.llama_model_quantize(source.encode(), out.encode(), how)
    if code:
        raise RuntimeError(f"llama.cpp's error {code}")


def compressed(model: str, out: str, scheme: str, way: str = "", data: str = "") -> None:
    """A folder of compressed-tensors: all linears but the head.

    Rounded to nearest, by GPTQ on 2 pages of GNOME's help in each of its languages, or by AWQ on 64
    tokens in each and 4 scales a linear: with GPTQ's text and 20 scales it takes hours on a CPU.
    """
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.pipelines.cache import IntermediatesCache
    from transformers import AutoTokenizer

    if not torch.cuda.is_available():  # AWQ pins memory, which without a device is refused
        IntermediatesCache.pin_memory = lambda *_: None
    kind = GPTQModifier if way == "gptq" else QuantizationModifier
    how = [kind(targets="Linear", scheme=scheme, ignore=["lm_head"])]
    how = [AWQModifier(n_grid=4), *how] if way == "awq" else how
    pages, length = (1, 64) if way == "awq" else (2, 256)
    calibration: dict[str, Any] = {}
    if data:
        tokenizer = AutoTokenizer.from_pretrained(model)
        lines = [line for file in sorted(Path(data, "gnome").glob("*.jsonl"))
                 for line in file.read_text().splitlines()[:pages]]  # fmt: skip
        texts = [json.loads(line)["text"] for line in lines]
        ids = [tokenizer(text, truncation=True, max_length=length)["input_ids"] for text in texts]
        calibration = {"dataset": Dataset.from_dict({"input_ids": ids}), "max_seq_length": length,
                       "num_calibration_samples": len(ids)}  # fmt: skip
    oneshot(model=model, recipe=how, output_dir=out, **calibration)


def transformers(model: str, out: str, kind: str) -> None:
    """A folder that transformers quantises as it loads."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TorchAoConfig

    how: Any
    if kind == "torchao-int8":
        from torchao.quantization import Int8WeightOnlyConfig

        how = TorchAoConfig(Int8WeightOnlyConfig())
    else:
        how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    made = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.bfloat16, quantization_config=how, device_map="cpu"
    )
    made.save_pretrained(out)
    AutoTokenizer.from_pretrained(model).save_pretrained(out)


if __name__ == "__main__":
    ways: dict[str, Any] = {"gguf": gguf, "compressed": compressed, "transformers": transformers}
    ways[sys.argv[1]](*sys.argv[2:])
