"""Classes of every sort are trimmed whole or refused; ``tools/trim_classes.py`` tries them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.trim_walk import trimmed

SAMPLE = {
    "gemma3n_text": ("cut", "model.embed_tokens.weight, model.embed_tokens_per_layer.weight"),
    "gemma3": ("cut", "language_model.model.embed_tokens.weight"),  # its text is inside of it
    "mllama": ("refused", "expected the embedding's 308 rows"),  # ids beyond the head
    "deepseek_v4": ("refused", "tid2eid"),  # experts by id
    "blt": ("not run", "refused: config.json: encoder_hash_byte_group_vocab"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", SAMPLE)
def test_no_tensor_is_left_half(tmp_path: Path, model_type: str) -> None:
    status, what = SAMPLE[model_type]
    found = trimmed(model_type, tmp_path)
    assert found[0] == status, found
    assert what in found[1]
