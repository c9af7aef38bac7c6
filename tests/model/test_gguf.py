"""GGUF files of every kind read as transformers reads them, or refused with nothing written."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter
from transformers import AutoModelForCausalLM, GgufConfig

import mwanda
from mwanda import InputError
from mwanda.model.gguf.file import open_gguf, read_gguf
from mwanda.model.source import open_model
from tests.pruning.pipeline.helpers import tensors, windows_object
from tests.support.gguf_files import ARCHITECTURES, gguf_model, write_gguf
from tests.support.text import write_corpus
from tests.support.walk import IDS, load, plain, streamed


@pytest.fixture(scope="module")
def llama() -> Any:
    return gguf_model("llama")


def own(path: Path) -> Any:
    """The model as plain transformers reads it from the file."""
    return AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    ).eval()


def prune(path: Path, out: Path) -> mwanda.PruneResult:
    return mwanda.prune(
        path, out=out, calibration=windows_object(), criterion="wanda", allocation="uniform"
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_architecture_is_read_streamed_and_pruned(tmp_path: Path, architecture: str) -> None:
    model = gguf_model(architecture)
    path, out = write_gguf(tmp_path / "tiny.gguf", architecture, model), tmp_path / "out"
    expected = own(path)
    with open_model(path, tmp_path) as source:
        made = load(source.folder)
        with torch.no_grad():
            logits = expected.float()(input_ids=IDS, use_cache=False).logits
        torch.testing.assert_close(streamed(source.folder), logits, rtol=1e-5, atol=1e-5)
        expected.bfloat16()
    assert type(made) is type(expected) is type(model)
    read = made.state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(read[name].bfloat16(), tensor), name
    for name, tensor in model.state_dict().items():  # what was written, back to the last bit
        torch.testing.assert_close(read[name].bfloat16(), tensor.bfloat16(), rtol=0.01, atol=1e-6)
        if "norm" not in name:  # those had 1 added, and lost bits by it
            assert torch.equal(read[name].bfloat16(), tensor.bfloat16()), name
    manifest = prune(path, out).manifest
    assert manifest.dequantised == "GGUF file tiny.gguf"
    assert list(manifest.base_files) == ["tiny.gguf"]
    assert not mwanda.verify(out).problems
    after, before = load(out).state_dict(), expected.state_dict()
    for name, tensor in after.items():
        assert torch.equal(tensor, torch.where(tensor == 0, 0, before[name].float())), name
    changed = {record.tensor for record in manifest.linears.values()}
    written = tensors(out)
    assert all((written[name] == 0).float().mean() > 0.4 for name in changed)
    torch.testing.assert_close(streamed(out), plain(out), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0], ids=lambda k: k.name)
def test_packed_weights_are_the_ones_the_format_says(
    tmp_path: Path, llama: Any, kind: Kind
) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", "llama", llama, kind=kind)
    stored = {
        tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type)
        for tensor in gguf.GGUFReader(path).tensors
    }
    prune(path, tmp_path / "out")
    after = tensors(tmp_path / "out")
    for ours, theirs in {
        "model.embed_tokens": "token_embd",
        "lm_head": "output",
        "model.layers.1.mlp.down_proj": "blk.1.ffn_down",
        "model.layers.0.self_attn.v_proj": "blk.0.attn_v",
    }.items():
        expected = torch.from_numpy(stored[f"{theirs}.weight"].copy()).bfloat16()
        tensor = after[f"{ours}.weight"]
        kept = tensor != 0 if "layers" in ours else torch.ones_like(tensor, dtype=torch.bool)
        assert torch.equal(tensor[kept], expected[kept])
        assert 0.3 < float(kept.float().mean()) <= 1


def test_text_windows_and_scores_with_the_files_own_tokenizer(tmp_path: Path, llama: Any) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", "llama", llama, kind=Kind.Q8_0)
    write_corpus(tmp_path / "text", ["de", "sw"], lines=60)
    write_corpus(tmp_path / "test", ["de", "sw"], lines=6, seed=9)
    fields: dict[str, Any] = {"windows": 2, "window_length": 16, "languages": ["de", "sw"]}
    out = tmp_path / "out"
    mwanda.prune(path, out=out, calibration=tmp_path / "text", sparsity=0.5, **fields)
    texts = mwanda.read_texts(tmp_path / "test", sentences=3, seed=2)
    before, after = mwanda.evaluate(path, texts), mwanda.evaluate(out, texts)
    assert before.settings["bos"] == after.settings["bos"] == "before every text: id 1"
    assert all(rise.rise != 0 for rise in mwanda.Comparison.of(before, after).rises)
    for tag, result in before.languages.items():  # a token a byte, and nothing unknown
        assert result.tokens == after.languages[tag].tokens > 10
    plan = mwanda.plan(path, recipe=mwanda.Recipe.build({"criterion": "magnitude"}))
    assert plan.linears == 14


def refused(path: Path, tmp_path: Path, *, plans: bool = True) -> str:
    """What ``prune``, and ``plan`` too, say of a file: one line, and nothing written."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as caught:
        prune(path, tmp_path / "out")
    message = str(caught.value)
    if plans:
        with pytest.raises(InputError) as planned:
            mwanda.plan(path, recipe=mwanda.Recipe.build({"criterion": "magnitude"}))
        assert str(planned.value) == message
    assert message.startswith(str(path))
    assert "expected" in message
    assert "\n" not in message
    assert len(message) - len(str(path)) < 400
    assert sorted(tmp_path.iterdir()) == before
    return message


def named(path: Path, architecture: str | None, weights: bool = True) -> Path:
    """A file with little more than an architecture's name."""
    writer = GGUFWriter(None, architecture or "")
    if architecture is None:
        writer.kv_data[0].clear()
    else:
        writer.add_block_count(2)
        writer.add_embedding_length(8)
    if weights:
        writer.add_tensor("token_embd.weight", torch.zeros(16, 8).numpy())
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("architecture", ["command-r", "mistral", "from-tomorrow"])
def test_an_architecture_that_transformers_cannot_read(tmp_path: Path, architecture: str) -> None:
    path = named(tmp_path / "tiny.gguf", architecture)
    message = refused(path, tmp_path, plans=architecture != "mistral")
    assert f"found architecture {architecture}: " in message
    assert "give the original model's folder (safetensors) instead" in message


def test_an_encoder_decoder(tmp_path: Path) -> None:
    message = refused(named(tmp_path / "tiny.gguf", "t5"), tmp_path)
    assert "found the encoder-decoder t5" in message
    assert "encoder and encoder-decoder models cannot be pruned here" in message


def test_a_file_without_a_model(tmp_path: Path) -> None:
    path = named(tmp_path / "tiny.gguf", None)
    assert "found no general.architecture in it" in refused(path, tmp_path)
    path = named(tmp_path / "tiny.gguf", "llama", weights=False)
    assert "found no weights in it" in refused(path, tmp_path)


@pytest.mark.parametrize(
    ("left_out", "weight"),
    [("blk.1.ffn_up", "model.layers.1.mlp.up_proj"), ("output_norm", "model.norm")],
)
def test_a_file_that_lacks_a_weight(tmp_path: Path, llama: Any, left_out: str, weight: str) -> None:
    """transformers would leave it at random values."""
    path = write_gguf(tmp_path / "tiny.gguf", "llama", llama, without=left_out)
    message = refused(path, tmp_path, plans=False)
    assert f"{weight}.weight: expected every weight of the architecture llama" in message
    assert "(1 such weights)" in message


def test_a_weight_of_another_shape_than_the_metadata_says(tmp_path: Path, llama: Any) -> None:
    llama.config.intermediate_size += 32
    path = write_gguf(tmp_path / "tiny.gguf", "llama", llama)
    llama.config.intermediate_size -= 32
    message = refused(path, tmp_path, plans=False)
    assert "mlp.down_proj.weight: expected shape [64, 128]" in message
    assert "found [64, 96]" in message


def test_one_part_of_several(tmp_path: Path, llama: Any) -> None:
    write_gguf(tmp_path / "tiny.gguf", "llama", llama, split_max_tensors=8)
    parts = sorted(tmp_path.glob("*.gguf"))
    assert len(parts) == 3
    for number, path in enumerate(parts, 1):
        message = refused(path, tmp_path)
        assert f"expected a GGUF in one file, found part {number} of 3" in message
        assert "llama-gguf-split --merge" in message


def test_a_truncated_file(tmp_path: Path, llama: Any) -> None:
    whole = write_gguf(tmp_path / "whole.gguf", "llama", llama, kind=Kind.Q8_0).read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[:-40])
    message = refused(path, tmp_path)
    assert "expected a whole GGUF file" in message
    assert f"found {len(whole) - 40:,} bytes that end too early" in message
    for size in [*range(4, 40), *range(40, len(whole), len(whole) // 60)]:
        path.write_bytes(whole[:size])
        with pytest.raises(InputError):
            open_gguf(path)


@pytest.mark.filterwarnings("ignore")  # of numbers too large
def test_damaged_bytes_end_in_an_error_of_ours_or_in_none(tmp_path: Path, llama: Any) -> None:
    whole = write_gguf(tmp_path / "whole.gguf", "llama", llama, kind=Kind.Q8_0).read_bytes()
    path, draw = tmp_path / "bad.gguf", random.Random(3)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in draw.choices(range(4, 400), k=3):
            damaged[place] = draw.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            read_gguf(path)


def test_a_tensor_that_the_model_has_no_place_for(tmp_path: Path, llama: Any) -> None:
    """Today's converters write some that transformers passes over without a word."""
    extra = {"blk.1.attn_q.bias": torch.ones(64)}
    path = write_gguf(tmp_path / "tiny.gguf", "llama", llama, extra=extra)
    message = refused(path, tmp_path, plans=False)
    assert (
        "blk.1.attn_q.bias: expected only tensors that LlamaForCausalLM has a place for" in message
    )
    assert "found 1 others, with 64 numbers" in message


def test_a_file_that_is_opened_says_so_first(
    tmp_path: Path, llama: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mwanda")
    path = write_gguf(tmp_path / "tiny.gguf", "llama", llama)
    read_gguf(path)
    assert caplog.messages[0] == f"unpacking {path}"
