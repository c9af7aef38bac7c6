"""Folders that hold a model in another program's format, told by the names of their files."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

FROM_HUB = "give the model in transformers' own format, from which it was converted"


PICKLE = (
    "a pickle-only model, which can run code when it is read",
    "convert it where you trust it: from_pretrained(...).save_pretrained(...)",
)
OLDER = (
    "save it as safetensors: from_pretrained(..., from_{}=True) of an older transformers, and "
    "save_pretrained(...)"
)

KINDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("pytorch_model*.bin",), *PICKLE),
    (("adapter_config.json", "adapter_model*"),
     "an adapter (LoRA) without the model that it belongs to", "merge it into its base first: "
     "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(...)"),
    (("openvino_*", "*openvino*.xml", "openvino/*"), "an OpenVINO model", FROM_HUB),
    (("vocabulary.*", "shared_vocabulary.*", "source_vocabulary.*"), "a CTranslate2 model",
     FROM_HUB),
    (("*.onnx", "*.onnx_data", "*.onnx.data"), "an ONNX model", FROM_HUB),
    (("mlc-chat-config.json", "params_shard_*"), "an MLC model", FROM_HUB),
    (("*.npz",), "an MLX model", FROM_HUB),
    (("*.engine", "rank*.safetensors", "rank*.engine"), "a TensorRT-LLM model", FROM_HUB),
    (("*.gguf",), "GGUF files alone", "give one of the GGUF files itself as the model"),
    (("ggml-*", "*.ggml", "*.llamafile"), "a GGML model", FROM_HUB),
    (("tf_model*", "saved_model.pb", "*.ckpt.index", "*.ckpt.meta"),
     "a TensorFlow model", OLDER.format("tf")),
    (("flax_model*", "*.msgpack", "*.orbax*"), "a Flax (JAX) model", OLDER.format("flax")),
    (("*.mlmodel", "*.mlpackage", "*.mlmodelc"), "a Core ML model", FROM_HUB),
    (("*.tflite", "*.litertlm", "*.task"), "a LiteRT (TFLite) model", FROM_HUB),
    (("*.pte",), "an ExecuTorch model", FROM_HUB),
    (("*.nemo",), "a NeMo model", FROM_HUB),
    (("model_index.json",), "a diffusers pipeline", "give a language model"),
    (("*.distcp", "*/*.distcp", "global_step*", "mp_rank_*", "*_model_states.pt",
      "pytorch_model_fsdp*"),
     "a sharded training checkpoint (DeepSpeed or FSDP)",
     "gather it into one model first, and save_pretrained(...) that"),
    (("consolidated*",), "its maker's original weights (consolidated)",
     "give the same model in transformers' format"),
    (("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.t7"), *PICKLE),
)  # fmt: skip
"""Names, what a folder with one of them is that has no safetensors of a model's, and what to do.
The first that fits counts."""

OTHER_WEIGHTS = ("adapter_*", "consolidated*", "openvino*", "rank*", "optimizer*", "training_*")
"""Safetensors that are not a model's, in a folder that has others or none."""


def folder_kind(names: Collection[str]) -> tuple[str, str, str] | None:
    """The name by which a folder is known as another program's, what it then is, and what to do."""
    for patterns, kind, fix in KINDS:
        for name in sorted(names):
            base = name.rpartition("/")[2]
            if any(fnmatchcase(name, p) or fnmatchcase(base, p) for p in patterns):
                return name, kind, fix
    return None


def other_weights(name: str) -> bool:
    """Whether a file of safetensors is known not to be a model's."""
    return any(fnmatchcase(name, pattern) for pattern in OTHER_WEIGHTS)
