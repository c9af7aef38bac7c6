"""llm-compressor's WandaPruningModifier on given token windows, in its own environment.

See benchmarks/llmcompressor-requirements.txt. Everything that is not named here is its default:
the sequential pipeline over decoder layers, batch size 1.
"""

from __future__ import annotations

from shared import Clock, arguments, opened, saved


def main() -> None:
    clock, given = Clock(), arguments(__doc__)
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.pruning import WandaPruningModifier
    from transformers import AutoTokenizer

    model, ids = opened(clock, given)
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    rows = ids.tolist()
    windows = Dataset.from_dict(
        {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}
    )
    clock.lap("load")
    oneshot(
        model=model,
        tokenizer=tokenizer,
        dataset=windows,
        recipe=WandaPruningModifier(
            sparsity=0.5, mask_structure="0:0", targets=["Linear"], ignore=["re:.*lm_head"]
        ),
        max_seq_length=ids.shape[1],
        num_calibration_samples=len(rows),
        shuffle_calibration_samples=False,
    )
    saved(clock, given, model, tokenizer)


if __name__ == "__main__":
    main()
