"""The tokenizer of a GGUF file is what the file says, in memory and read from the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split
from transformers import AutoTokenizer

from mwanda import InputError
from mwanda.model.gguf.file import read_gguf
from mwanda.model.gguf.header import parse_header
from mwanda.model.source import load_tokenizer, open_model
from tests.support.gguf_files import gguf_model, write_gguf
from tests.support.models import BOS, EOS, VOCABULARY, tiny_tokenizer

MERGES = ["1 2", "12 3", "Ġ Ġ", "Ġ 1", "a b", "ab !", "c d"]
TEXT = "ab12  123 x4\n\n5ab! 'll cd"


def tokens_and_types() -> tuple[list[str], list[int]]:
    """A token a byte, the tokens that the merges make, and ``whole``, which none makes."""
    held = {number: token for token, number in tiny_tokenizer().get_vocab().items()}
    tokens = [held.get(number, f"spare{number}") for number in range(VOCABULARY)]
    for number, token in enumerate(["whole", *(one.replace(" ", "") for one in MERGES)]):
        tokens[-1 - number] = token
    return tokens, [3 if number < 3 else 1 for number in range(VOCABULARY)]


def written(
    tmp_path: Path, fields: dict[str, Any], architecture: str = "llama", kind: str = "gpt2"
) -> Path:
    """A tiny model with that vocabulary, or one of SentencePiece's kind."""
    tokens, types = tokens_and_types()
    merges: dict[str, Any] = {"tokenizer.ggml.merges": MERGES}
    if kind == "llama":
        letters = ["▁", *"abc123", "ab", "▁ab", "12"]
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
        tokens += [f"spare{number}" for number in range(len(tokens), VOCABULARY)]
        types = [2, 3, 3] + [6] * 256 + [1] * (VOCABULARY - 259)
        merges = {"tokenizer.ggml.scores": [-float(number) for number in range(VOCABULARY)]}
    told = {
        "tokenizer.ggml.model": kind, "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types, "tokenizer.ggml.merges": None, **merges, **fields,
    }  # fmt: skip
    return write_gguf(tmp_path / "tiny.gguf", architecture, gguf_model(architecture), fields=told)


def both(path: Path, tmp_path: Path) -> Any:
    """The tokenizer, which is the same when it was saved and loaded."""
    file = read_gguf(path)
    made = file.tokenizer()
    made.save_pretrained(tmp_path / "saved")
    file.config.save_pretrained(tmp_path / "saved")
    loaded = load_tokenizer(tmp_path / "saved")
    assert loaded.backend_tokenizer.to_str() == made.backend_tokenizer.to_str()
    assert loaded(TEXT).input_ids == made(TEXT).input_ids
    assert (loaded.chat_template, loaded.eos_token) == (made.chat_template, made.eos_token)
    assert max(loaded.get_vocab().values()) < VOCABULARY
    return loaded


def expected(cut: Any) -> list[str]:
    """What the merges make of the text that was cut so."""
    tokens, _ = tokens_and_types()
    pairs = [tuple(one.split(" ")) for one in MERGES]
    made = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, pairs))
    made.pre_tokenizer = cut
    found: list[str] = made.encode(TEXT).tokens
    return found


GPT2 = ByteLevel(add_prefix_space=False)
REST = ByteLevel(add_prefix_space=False, use_regex=False)
SINGLY = Sequence([Digits(individual_digits=True), GPT2])
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BLOOM = Split(Regex(r" ?[^(\s|[.,!?…。，、।۔،])]+"), "isolated")
CODER = [
    Split(Regex(one), "isolated")
    for one in (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")
]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3", "gemma3", "lfm2"])
@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("gpt-2", GPT2),
        ("smollm", SINGLY),
        ("starcoder", SINGLY),
        ("llama-bpe", Sequence([Split(Regex(LLAMA3), "isolated"), REST])),
        ("bloom", Sequence([BLOOM, REST])),
        ("viking", Sequence([BLOOM, Digits(individual_digits=True), REST])),
        ("deepseek-coder", Sequence([*CODER, Digits(individual_digits=True), REST])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_text_is_cut_as_the_file_says(
    tmp_path: Path, architecture: str, name: str, cut: Any
) -> None:
    path = written(tmp_path, {"tokenizer.ggml.pre": name}, architecture)
    made = both(path, tmp_path)
    assert made.convert_ids_to_tokens(made(TEXT).input_ids) == ["<bos>", *expected(cut)]


def test_a_cut_that_transformers_puts_its_own_in_place_of(tmp_path: Path) -> None:
    """Of Qwen 2 it does, when a folder is loaded."""
    both(written(tmp_path, {"tokenizer.ggml.pre": "qwen2"}, "qwen2"), tmp_path)
    for kind, name in (("gpt2", "smollm"), ("llama", "default")):
        path = written(tmp_path, {"tokenizer.ggml.pre": name}, "qwen2", kind)
        refused(path, f"found {name}", "the pre_tokenizer of Qwen2Tokenizer")


def test_the_start_is_llama_cpps_where_no_flag_is(tmp_path: Path) -> None:
    for name, start in (("llama-bpe", [BOS]), ("gpt-2", [])):
        told = {"tokenizer.ggml.pre": name, "tokenizer.ggml.add_bos_token": None}
        made = both(written(tmp_path, told), tmp_path)
        assert made("ab").input_ids == [*start, made.convert_tokens_to_ids("ab")]


def test_words_in_the_vocabulary_are_tokens_where_the_cut_says_so(tmp_path: Path) -> None:
    for name, count in (("gpt-2", 5), ("llama-bpe", 1)):
        made = both(written(tmp_path, {"tokenizer.ggml.pre": name}), tmp_path)
        assert len(made("whole", add_special_tokens=False).input_ids) == count


@pytest.mark.parametrize("name", ["no-such-cut", "falcon", "deepseek-llm"])
def test_an_unknown_cut_is_refused(tmp_path: Path, name: str) -> None:
    refused(written(tmp_path, {"tokenizer.ggml.pre": name}), "tokenizer.ggml.pre: ", name)


def refused(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_gguf(path).tokenizer()
    assert str(caught.value).startswith(str(path))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("gpt2", {"normalizer.lowercase": True}),
        ("llama", {"remove_extra_whitespaces": True}),
        ("gpt2", {"add_space_prefix": True}),
        ("gpt2", {"add_sep_token": True}),
        ("gpt2", {"something.new": 3}),
        ("llama", {"precompiled_charsmap": [1, 2, 3]}),
        ("gpt2", {"bos_token_id": 5000}),
        ("gpt2", {"eot_token_id": VOCABULARY}),
    ],
    ids=str,
)
def test_what_a_tokenizer_cannot_hold_is_refused(
    tmp_path: Path, kind: str, fields: dict[str, Any]
) -> None:
    told = {f"tokenizer.ggml.{name}": value for name, value in fields.items()}
    refused(written(tmp_path, told, kind=kind), *told, "original model's folder")


def test_what_changes_nothing_is_read(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "normalizer.lowercase": False, "remove_extra_whitespaces": False, "add_sep_token": False,
        "add_space_prefix": False, "fim_pre_token_id": 7, "token_type_count": 2,
    }  # fmt: skip
    told = {f"tokenizer.ggml.{name}": value for name, value in fields.items()}
    made = both(written(tmp_path, told), tmp_path)
    assert made("ab").input_ids == [BOS, made.convert_tokens_to_ids("ab")]


@pytest.mark.parametrize("architecture", ["llama", "phi3", "qwen3"])
def test_a_space_before_a_text_or_none(tmp_path: Path, architecture: str) -> None:
    for said, first in ((None, "▁ab"), (True, "▁ab"), (False, "ab")):
        told = {} if said is None else {"tokenizer.ggml.add_space_prefix": said}
        made = both(written(tmp_path, told, architecture, kind="llama"), tmp_path)
        found = made("ab c", add_special_tokens=False).input_ids
        assert made.convert_ids_to_tokens(found) == [first, "▁", "c"]
        assert made.decode(found) == "ab c"


def test_gemma_has_no_space_before_a_text(tmp_path: Path) -> None:
    made = both(written(tmp_path, {}, "gemma3", kind="llama"), tmp_path)
    assert made.convert_ids_to_tokens(made("ab").input_ids) == ["<s>", "ab"]
    told = {"tokenizer.ggml.add_space_prefix": True}
    refused(written(tmp_path, told, "gemma3", kind="llama"), *told)


def test_every_chat_template_and_every_end(tmp_path: Path) -> None:
    told = {
        "tokenizer.chat_template": "A", "tokenizer.chat_template.tool_use": "B",
        "tokenizer.chat_templates": ["tool_use"], "tokenizer.ggml.eot_token_id": 9,
        "tokenizer.ggml.eom_token_id": EOS,
    }  # fmt: skip
    path = written(tmp_path, told)
    assert both(path, tmp_path).chat_template == {"default": "A", "tool_use": "B"}
    with open_model(path, tmp_path) as source:
        generation = json.loads((source.folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [EOS, 9]


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "qwen3", "gpt2", "phi3", "lfm2"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_rest_is_as_transformers_builds_it(
    tmp_path: Path, architecture: str, kind: str
) -> None:
    fields = {"tokenizer.chat_template": "{{ messages[0]['content'] }}"}
    path = written(tmp_path, fields, architecture, kind)
    own = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    made = both(path, tmp_path)
    theirs, ours = (json.loads(one.backend_tokenizer.to_str()) for one in (own, made))
    theirs["added_tokens"] = [one for one in theirs["added_tokens"] if one["id"] < VOCABULARY]
    theirs["model"]["unk_token"] = ours["model"]["unk_token"]
    assert ours == theirs
    for name in ("chat_template", "bos_token", "eos_token", "pad_token", "unk_token"):
        assert getattr(made, name) == getattr(own, name)


def test_a_token_that_is_no_text(tmp_path: Path) -> None:
    path = written(tmp_path, {})
    path.write_bytes(path.read_bytes().replace(b"spare270", b"\xff\xfeare270", 1))
    refused(path, "tokenizer.ggml.tokens: expected text in UTF-8", r"\xff\xfeare270")


def test_added_tokens_are_the_files(tmp_path: Path) -> None:
    """transformers' byte-level class adds ``<|endoftext|>``, for which there is no row."""
    path = written(tmp_path, {})
    made = both(path, tmp_path)
    assert made.get_vocab().keys() == set(parse_header(path).fields["tokenizer.ggml.tokens"])
    assert len(made("<|endoftext|>", add_special_tokens=False).input_ids) == 13


def test_a_sentencepiece_file_is_made_where_it_cuts_text_alike(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    for name, fields, there in (
        ("plain", {}, True),
        ("without", {"tokenizer.ggml.add_space_prefix": False}, True),
        ("merges", {"tokenizer.ggml.merges": ["a b"]}, False),  # others than its scores say
        ("bytes", {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": []}, False),
    ):
        (tmp_path / name).mkdir()
        kind = fields.get("tokenizer.ggml.model", "llama")
        if kind == "gpt2":
            path = written(tmp_path / name, {})
        else:
            path = written(tmp_path / name, fields, kind="llama")
        with open_model(path, tmp_path / name) as source:
            file = source.folder / "tokenizer.model"
            assert file.is_file() is there, name
            if there:
                processor = sentencepiece.SentencePieceProcessor(model_file=str(file))
                tokenizer = load_tokenizer(source.folder)
                for text in (TEXT, "12  ab", "ab"):
                    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                    assert processor.encode(text) == ids, text
