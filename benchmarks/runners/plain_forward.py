"""One plain transformers forward of the windows through the decoder, without head or cache.

Every batch size is tried on some of the windows; the best then takes them all.
"""

from __future__ import annotations

import time

from shared import Clock, arguments, opened

BATCHES = (2, 4, 8, 16)
TRIED = 8
"""Windows that each batch size is tried on."""


def main() -> None:
    clock, given = Clock(), arguments(__doc__)
    import torch

    model, ids = opened(clock, given)

    def forward(windows: torch.Tensor, batch: int) -> float:
        start = time.perf_counter()
        for part in windows.split(batch):
            model.model(input_ids=part, use_cache=False)
        return time.perf_counter() - start

    with torch.inference_mode():
        forward(ids[:TRIED], max(BATCHES))
        tried = dict.fromkeys(BATCHES, float("inf"))
        for _ in range(2):  # in turn, so that one slow moment does not decide
            for batch in BATCHES:
                tried[batch] = min(tried[batch], forward(ids[:TRIED], batch))
        best = min(tried, key=lambda batch: tried[batch])
        clock.lap("choosing the batch size")
        forward(ids, best)
        clock.lap("forward")
    clock.report(best_batch=best, tried=tried, windows=list(ids.shape))


if __name__ == "__main__":
    main()
