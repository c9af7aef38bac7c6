"""llm-compressor's WandaPruningModifier on given token windows, in its own environment.

See benchmarks/llmcompressor-requirements.txt. Everything that is not named here is its default:
the sequential pipeline over decoder layers, batch size 1.
"""

from __future__ import annotations

from shared import Clock, arguments, read_windows


def main() -> None:
    clock = Clock()
    given = arguments(__doc__, out=True).parse_args()
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.pruning import WandaPruningModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(given.threads)
    clock.lap("import")
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    ids = read_windows(given.windows)
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
            sparsity=given.sparsity,
            mask_structure="0:0",
            targets=["Linear"],
            ignore=["re:.*lm_head"],
        ),
        max_seq_length=ids.shape[1],
        num_calibration_samples=len(rows),
        shuffle_calibration_samples=False,
    )
    clock.lap("prune")
    model.save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)
    clock.lap("save")
    clock.report()


if __name__ == "__main__":
    main()
