"""Artefacts that no command line makes, for ``table.py``, in the environment of what makes them.

python made.py gguf FILE OUT TYPE
python made.py compressed FOLDER OUT SCHEME
"""

from __future__ import annotations

import sys


def gguf(source: str, out: str, kind: str) -> None:
    """A GGUF file in one of llama.cpp's types or its own mixtures of them."""
    import llama_cpp

    how = llama_cpp.llama_model_quantize_default_params()
    how.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    how.nthread = 1
    code = llama_cpp.llama_model_quantize(source.encode(), out.encode(), how)
    if code:
        raise RuntimeError(f"llama.cpp's error {code}")


def compressed(model: str, out: str, scheme: str) -> None:
    """A folder of compressed-tensors: linears but the head, rounded to nearest, without text."""
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    how = QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"])
    oneshot(model=model, recipe=how, output_dir=out)


if __name__ == "__main__":
    {"gguf": gguf, "compressed": compressed}[sys.argv[1]](*sys.argv[2:])
