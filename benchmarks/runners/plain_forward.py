"""One plain transformers forward of the windows through the decoder, without head or cache.

Every batch size is tried on some of the windows; the best then takes them all.
"""

from __future__ import annotations

import time

from shared import Clock, arguments, read_windows


def main() -> None:
    clock = Clock()
    parser = arguments(__doc__, out=False)
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--tried", type=int, default=8, help="windows each batch size is tried on")
    given = parser.parse_args()
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(given.threads)
    clock.lap("import")
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
    ids = read_windows(given.windows)
    clock.lap("load")

    def forward(windows: torch.Tensor, batch: int) -> float:
        start = time.perf_counter()
        for part in windows.split(batch):
            model.model(input_ids=part, use_cache=False)
        return time.perf_counter() - start

    with torch.inference_mode():
        forward(ids[: given.tried], max(given.batches))
        tried = dict.fromkeys(given.batches, float("inf"))
        for _ in range(2):  # in turn, so that one slow moment does not decide
            for batch in given.batches:
                tried[batch] = min(tried[batch], forward(ids[: given.tried], batch))
        best = min(tried, key=lambda batch: tried[batch])
        clock.lap("choosing the batch size")
        forward(ids, best)
        clock.lap("forward")
    clock.report(best_batch=best, tried=tried, windows=list(ids.shape))


if __name__ == "__main__":
    main()
