"""The helpers themselves: the tiny models load and work, and the guard holds."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.pytorch_utils import Conv1D

from tests.support.models import BOS, EOS, FAMILIES, PAD, VOCABULARY, tiny_model
from tests.support.text import write_corpus

Tiny = Callable[..., Path]
TEXT = "Ünïcode, 人权 \n  حقوق 👩‍🚀"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_model_loads_and_its_activations_are_alive(tiny: Tiny, family: str) -> None:
    folder = tiny(family)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.randint(3, VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = model(ids, output_hidden_states=True)
    assert output.logits.shape == (2, 40, VOCABULARY)
    assert torch.isfinite(output.logits).all()
    assert len(output.hidden_states) == 4
    # Every layer changes its input, and positions differ from one another.
    for before, after in zip(output.hidden_states, output.hidden_states[1:], strict=False):
        assert (after - before).std() > 0.05
    assert (output.logits[0, 10] - output.logits[0, 20]).std() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_fits_two_of_four(tiny: Tiny, family: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny(family))
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear | Conv1D)]
    assert len(linears) > 3 * 4
    for linear in linears:
        wide = linear.weight.shape[0 if isinstance(linear, Conv1D) else 1]
        assert wide % 8 == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokenizer_gives_back_the_text(tiny: Tiny, family: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny(family))
    ids = tokenizer(TEXT).input_ids
    assert ids[0] == BOS
    assert len(ids) == 1 + len(TEXT.encode())
    assert max(ids) < VOCABULARY
    assert tokenizer.decode(ids, skip_special_tokens=True) == TEXT
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (PAD, EOS)
    messages = [{"role": "user", "content": "hi"}]
    chat = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat == "<bos><user>hi\n<assistant>"


def test_the_tokenizer_can_do_without_bos(tiny: Tiny) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama", bos=False))
    assert len(tokenizer(TEXT).input_ids) == len(TEXT.encode())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_the_head_is_tied_or_not(tiny: Tiny, family: str, tied: bool) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny(family, tied=tied))
    head, table = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert (head.data_ptr() == table.data_ptr()) is tied
    assert torch.equal(head, table) is tied


def test_options_reach_the_files(tmp_path: Path) -> None:
    folder = tiny_model(
        "llama", tmp_path / "m", dtype=torch.bfloat16, layers=2, max_shard_size="40KB"
    )
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    assert (folder / "model.safetensors.index.json").is_file()
    with safe_open(shards[0], framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118
    assert GenerationConfig.from_pretrained(folder).eos_token_id == EOS


def test_the_seed_decides_the_weights_and_leaves_the_global_one(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    folders = [
        tiny_model("gpt2", tmp_path / name, seed=seed) for name, seed in [("a", 1), ("b", 1)]
    ]
    assert torch.equal(torch.rand(1), expected)
    folders.append(tiny_model("gpt2", tmp_path / "c", seed=2))
    one, same, other = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert one == same
    assert one != other


def test_gemma3_mixes_sliding_and_full_attention(tiny: Tiny) -> None:
    config = AutoModelForCausalLM.from_pretrained(tiny("gemma3")).config
    assert set(config.layer_types) == {"sliding_attention", "full_attention"}
    assert config.sliding_window == 8


def test_an_unknown_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown family 'lama'"):
        tiny_model("lama", tmp_path)


def test_corpora_differ_by_language_and_repeat_by_seed(tmp_path: Path) -> None:
    tags = ["en", "de", "ru", "hi", "zh"]
    first = write_corpus(tmp_path / "a", tags, lines=50)
    again = write_corpus(tmp_path / "b", tags, lines=50)
    other = write_corpus(tmp_path / "c", tags, lines=50, seed=1)
    texts = [first[tag].read_text(encoding="utf-8") for tag in tags]
    assert len(set(texts)) == len(tags)
    assert all(len(text.splitlines()) == 50 for text in texts)
    assert texts == [again[tag].read_text(encoding="utf-8") for tag in tags]
    assert not set(texts) & {other[tag].read_text(encoding="utf-8") for tag in tags}


def test_the_network_is_out_of_reach_but_this_machine_is_not() -> None:
    with (
        socket.socket() as away,
        pytest.raises(RuntimeError, match=r"tried to connect to 192\.0\.2\.1:80"),
    ):
        away.connect(("192.0.2.1", 80))
    with socket.socket() as server, socket.socket() as near:
        server.bind(("127.0.0.1", 0))
        server.listen()
        near.connect(server.getsockname())
