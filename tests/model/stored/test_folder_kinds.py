"""A folder of another program's model is refused by that program's name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mwanda.errors import InputError
from mwanda.model.stored.quantised import refuse_quantised
from mwanda.model.stored.reader import Checkpoint
from tests.model.helpers import model_folder

A = torch.ones(2, 2)

FOLDERS = {
    "OpenVINO": ["config.json", "openvino_model.xml", "openvino_model.bin", "tokenizer.json"],
    "CTranslate2": ["config.json", "model.bin", "vocabulary.json"],
    "CTranslate2 model": ["config.json", "model.bin", "shared_vocabulary.txt"],
    "ONNX": ["config.json", "onnx/model.onnx", "onnx/model.onnx_data"],
    "TensorFlow": ["config.json", "tf_model.h5"],
    "Flax": ["config.json", "flax_model.msgpack"],
    "MLX": ["config.json", "weights.npz"],
    "GGUF files alone": ["a-Q4_K_M.gguf", "a-Q8_0.gguf"],
    "GGUF files": ["config.json", "tokenizer.json", "a-Q8_0.gguf"],
    "LoRA": ["adapter_config.json", "adapter_model.safetensors"],
    "adapter": ["config.json", "adapter_config.json", "adapter_model.safetensors"],
    "merge it into its base": ["adapter_config.json", "adapter_model.bin"],
    "MLC": ["mlc-chat-config.json", "params_shard_0.bin"],
    "TensorRT": ["config.json", "rank0.engine"],
    "TensorRT-LLM": ["config.json", "rank0.safetensors"],
    "Core ML": ["config.json", "model.mlpackage"],
    "TFLite": ["config.json", "model.tflite"],
    "original weights": ["params.json", "consolidated.safetensors", "tekken.json"],
    "consolidated": ["config.json", "params.json", "consolidated.00.pth"],
    "DeepSpeed": ["config.json", "global_step10/mp_rank_00_model_states.pt", "latest"],
    "FSDP": ["config.json", "shards/__0_0.distcp"],
    "diffusers": ["model_index.json", "unet/diffusion_pytorch_model.safetensors"],
    "pickle-only": ["config.json", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx"],
    "a pickle-only": ["config.json", "weights.pt"],
}


@pytest.mark.parametrize("says", FOLDERS)
def test_a_folder_is_refused_by_its_name(tmp_path: Path, says: str) -> None:
    for name in FOLDERS[says]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError) as caught:
        Checkpoint.open(tmp_path)
    for part in (str(tmp_path), "expected weights as safetensors", says):
        assert part in str(caught.value)
    assert ("pickle" in str(caught.value)) == ("pickle" in says)


def test_other_programs_files_beside_a_model_do_no_harm(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", {"model.safetensors": {"a": A}})
    for name in ("adapter_config.json", "openvino_model.bin", "a.gguf", "consolidated.safetensors"):
        (folder / name).write_text("{}")
    Checkpoint.open(folder).close()


def test_a_model_without_a_config_is_told_as_that(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", {"model.safetensors": {"a": A}})
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"config\.json: expected the model's config"):
        Checkpoint.open(folder)


def test_quantised_weights_of_mlx_are_refused_by_name(tmp_path: Path) -> None:
    packed = {"a.weight": torch.ones(2, 2, dtype=torch.uint32), "a.scales": A, "a.biases": A + 1}
    folder = model_folder(tmp_path / "model", {"model.safetensors": packed})
    with (
        Checkpoint.open(folder) as checkpoint,
        pytest.raises(InputError, match=r"a\.weight.*quantised weights \(MLX"),
    ):
        refuse_quantised(checkpoint)
