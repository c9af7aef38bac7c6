"""How near an evaluation is to the matrix products it cannot do without, and to a plain loop.

Three things are timed on the same texts, threads and dtype (float32):

* the products alone, before and after: every linear of the blocks, attention's two products and the
  head, on random numbers in the shapes of the evaluation. One block is run over all batches and
  counted for each, and some positions of the head for all. Padding is taken off.
* ``mwanda.evaluate``, from opening the folder to the numbers, and its stages.
* a plain transformers loop: one text at a time, all logits, cross entropy. With ``--plain N`` it
  runs on N texts of each language, drawn by the seed, and its time is scaled by the tokens.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import torch

import mwanda
from harness import Table, bar, options_of, parsed, save
from mwanda.evaluation.head import TILE
from mwanda.evaluation.token_batches import Piece, batches_of, cut
from mwanda.model.source import load_tokenizer
from mwanda.text.start import start_of
from real_models import SEEN, UNSEEN, dense_folder

SENTENCES, SEED = 48, 0
"""Of each language, and of their draw."""
HEAD_POSITIONS = 4096
"""On which the head alone is timed."""


class Watch(mwanda.Silent):
    """A progress that notes when each stage began, and when the last block ended."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.last = 0.0

    def stage(self, *_: Any, **__: Any) -> None:
        self.begun.append(time.perf_counter())

    def block(self, tokens: int) -> None:
        self.last = time.perf_counter()


def timed(product: Callable[..., object], *factors: torch.Tensor) -> float:
    start = time.perf_counter()
    product(*factors)
    return time.perf_counter() - start


def products(model: Any, batches: list[list[Piece]]) -> dict[str, Any]:
    """Seconds and floating-point operations of one evaluation's products, padding taken off."""
    config = model.config
    blocks = config.num_hidden_layers
    linears = [m for m in model.model.layers[0].modules() if isinstance(m, torch.nn.Linear)]
    weights = [torch.randn(one.weight.shape) * 0.02 for one in linears]
    heads, dim = config.num_attention_heads, config.head_dim
    seconds = {"linears": 0.0, "attention": 0.0, "head": 0.0}
    flops = dict.fromkeys(seconds, 0.0)
    for batch in batches:
        rows, width = len(batch), max(len(piece.ids) for piece in batch)
        tokens = sum(len(piece.ids) for piece in batch)
        share = tokens / (rows * width)
        for weight in weights:
            hidden = torch.randn(rows * width, weight.shape[1])
            seconds["linears"] += timed(torch.mm, hidden, weight.T) * share * blocks
            flops["linears"] += 2.0 * tokens * weight.numel() * blocks
        query = torch.randn(rows * heads, width, dim)
        square = torch.randn(rows * heads, width, width)
        spent = timed(torch.bmm, query, query.transpose(1, 2)) + timed(torch.bmm, square, query)
        real = sum(len(piece.ids) ** 2 for piece in batch)
        seconds["attention"] += spent * real / (rows * width**2) * blocks
        flops["attention"] += 4.0 * real * heads * dim * blocks
    scored = sum(len(piece.ids) - piece.first for batch in batches for piece in batch)
    weight = model.lm_head.weight.detach()
    hidden = torch.randn(min(HEAD_POSITIONS, scored), weight.shape[1])
    rows, columns = TILE
    room = torch.empty(rows * columns)

    def whole_head() -> None:
        for low in range(0, len(weight), columns):
            part = weight[low : low + columns].T
            for some in hidden.split(rows):
                tile = room[: len(some) * part.shape[1]].view(len(some), -1)
                torch.mm(some, part, out=tile)

    seconds["head"] = timed(whole_head) * scored / len(hidden)
    flops["head"] = 2.0 * scored * weight.numel()
    return {"seconds": seconds, "flops": flops, "total": sum(seconds.values())}


@torch.no_grad()
def plain_loop(model: Any, pieces: dict[tuple[str, int], Piece]) -> dict[tuple[str, int], float]:
    """Nats of each text, one at a time."""
    found = {}
    for key, piece in pieces.items():
        ids = torch.tensor([piece.ids])
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[0, 1:], reduction="sum")
        found[key] = float(loss)
    return found


def differences(result: mwanda.Evaluation, found: dict[tuple[str, int], float]) -> dict[str, float]:
    """Largest relative difference over texts and over languages."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for (tag, place), value in found.items():
        pairs.setdefault(tag, []).append((result.languages[tag].sentence_nll[place], value))
    sums = [tuple(map(sum, zip(*some, strict=True))) for some in pairs.values()]
    texts = [pair for some in pairs.values() for pair in some]
    return {
        what: max(abs(ours - theirs) / theirs for ours, theirs in some)
        for what, some in (("text", texts), ("language", sums))
    }


def main() -> None:
    parser = options_of(__doc__, "evaluation", "flores/")
    parser.add_argument("--plain", type=int, default=SENTENCES,
                        help="texts a language in the plain loop; default all")  # fmt: skip
    given = parsed(parser)
    torch.set_num_threads(given.threads)
    from transformers import AutoModelForCausalLM

    folder = dense_folder(given)
    texts = mwanda.read_texts(
        given.data / "flores", SEEN + UNSEEN, sentences=SENTENCES, seed=SEED, ids=(1000, None)
    )
    tokenizer = load_tokenizer(folder)
    first = start_of(tokenizer)
    pieces: dict[tuple[str, int], Piece] = {}
    for tag, group in texts.texts.items():
        for place, text in enumerate(group):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            (pieces[tag, place],) = cut(0, ids, first, 2048)
    batches = batches_of(list(pieces.values()), mwanda.RunOptions().batch_tokens)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    before = products(model, batches)
    watch = Watch()
    options = mwanda.RunOptions(progress=watch, compute_dtype="float32")
    start = time.perf_counter()
    result = mwanda.evaluate(folder, texts, options=options)
    wall = time.perf_counter() - start
    stages = {
        "open": watch.begun[0] - start,
        "blocks": watch.begun[1] - watch.begun[0],
        "head": watch.last - watch.begun[1],
    }
    after = products(model, batches)

    places = random.Random(SEED).sample(range(SENTENCES), given.plain)
    chosen = {key: piece for key, piece in pieces.items() if key[1] in places}
    start = time.perf_counter()
    found = plain_loop(model, chosen)
    tokens, run = (sum(len(one.ids) for one in some.values()) for some in (pieces, chosen))
    loop = (time.perf_counter() - start) * tokens / run
    worst = differences(result, found)
    ratio = wall / ((before["total"] + after["total"]) / 2)
    scaled = f" (from {len(chosen)} texts)" if len(chosen) < len(pieces) else ""
    rate = sum(before["flops"].values()) / before["total"] / 1e9
    rows = [
        ["products alone, before", f"{before['total']:.1f} s"],
        ["products alone, after", f"{after['total']:.1f} s"],
        ["their rate", f"{rate:.0f} GFLOP/s"],
        ["evaluation", f"{wall:.1f} s"],
        *([f"of it {name}", f"{spent:.1f} s"] for name, spent in stages.items()),
        [f"plain loop{scaled}", f"{loop:.1f} s"],
    ]
    data = {
        "text_sha256": texts.sha256, "tokens": tokens, "threads": given.threads,
        "products": [before, after], "seconds": wall, "stages": stages,
        "plain": {"texts": len(chosen), "seconds_for_all": loop}, "relative_difference": worst,
    }  # fmt: skip
    save(
        given.results,
        data,
        tables=[Table([f"{len(pieces)} texts, {tokens:,} tokens", ""], rows)],
        bars=[
            bar("evaluation / its matrix products alone", ratio, most=1.3),
            bar(
                "largest relative difference to the plain loop, one text", worst["text"], most=1e-4
            ),
            bar("the same, one language", worst["language"], most=1e-4),
        ],
    )


if __name__ == "__main__":
    main()
