"""Hooks see every token of every linear once, by language, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mwanda.errors import DataError, InputError
from mwanda.methods.input_statistics import FeatureSums
from mwanda.model.run.structure import Block, Linear
from mwanda.pruning.statistics.capture import Capture
from mwanda.pruning.statistics.file import StatisticsSpill

NEEDS: Any = ("square", "activity")


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(6, 4), nn.Linear(6, 4)
        self.out = nn.Linear(4, 6)
        self.idle = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(input=self.query(x) * self.key(x))


@pytest.fixture
def toy() -> Toy:
    torch.manual_seed(0)
    return Toy()


def block_of(*names: str) -> Block:
    """Block 3 of a model, with these of the toy's linears."""
    widths = {"query": (4, 6), "key": (4, 6), "out": (6, 4), "idle": (6, 6)}
    return Block(3, "toy", tuple(Linear(name, *widths[name], False) for name in names))


@torch.no_grad()
def run(toy: Toy, capture: Capture, batches: list[tuple[str, torch.Tensor]]) -> None:
    with capture:
        for tag, x in batches:
            capture.run(lambda x=x: toy(x), tag)


def batches() -> list[tuple[str, torch.Tensor]]:
    torch.manual_seed(1)
    return [
        ("de", torch.randn(2, 5, 6)),
        ("sw", torch.randn(1, 3, 6)),
        ("de", torch.randn(1, 5, 6)),
    ]


def test_sums_by_linear_and_language(toy: Toy) -> None:
    capture = Capture(toy, block_of("query", "key", "out").linears, NEEDS)
    run(toy, capture, batches())
    capture.check(0)
    for tag in ("de", "sw"):
        x = torch.cat([part.reshape(-1, 6) for owner, part in batches() if owner == tag])
        with torch.no_grad():
            middle = toy.query(x) * toy.key(x)
        for name, seen in {"query": x, "key": x, "out": middle}.items():
            expected = FeatureSums.of(seen, NEEDS)
            found = capture.sums[name][tag]
            assert found.tokens == expected.tokens == (15 if tag == "de" else 3)
            torch.testing.assert_close(found.square, expected.square, rtol=1e-6, atol=0)
            assert found.active is not None
            assert torch.equal(found.active, expected.active)
    # Shared inputs share the computation, not the sums.
    assert capture.sums["query"]["de"].square is not capture.sums["key"]["de"].square


def test_hooks_go_away_even_after_an_error(toy: Toy) -> None:
    capture = Capture(toy, block_of("query").linears, NEEDS)
    with pytest.raises(RuntimeError), capture:
        toy(torch.randn(2, 5))
    assert not any(module._forward_pre_hooks for module in toy.modules())


def test_what_no_score_can_be_built_on_is_named(toy: Toy) -> None:
    bad = batches()
    bad[1][1][0, 1, 2] = float("nan")
    capture = Capture(toy, block_of("query").linears, NEEDS)
    run(toy, capture, bad)
    with pytest.raises(DataError, match=r"block 7, linear query, language sw: .*NaN or infinity"):
        capture.check(7)
    capture = Capture(toy, block_of("query", "idle").linears, NEEDS)
    run(toy, capture, batches())
    with pytest.raises(InputError, match=r"block 7, linear idle: .*no input at all"):
        capture.check(7)


def test_one_gram_matrix_for_all_languages_and_for_shared_inputs(toy: Toy, tmp_path: Path) -> None:
    factors = {"de": 0.75 / 15, "sw": 0.25 / 3}
    capture = Capture(toy, block_of("query", "key", "out").linears, ("gram",), factors)
    run(toy, capture, batches())
    capture.check(0)
    assert capture.grams["key"] is capture.grams["query"]
    assert capture.leaders == {"query": "query", "key": "query", "out": "out"}
    store = StatisticsSpill(tmp_path, ["de", "sw"], ("square",))
    store.add(block_of("query", "key", "out"), capture.sums, capture.grams)
    assert store.inputs["query"].linears.keys() == {"query", "key"}
    for name in ("query", "key", "out"):
        expected = torch.zeros(1)
        for tag, x in batches():
            x = x.reshape(-1, 6)
            with torch.no_grad():
                seen = toy.query(x) * toy.key(x) if name == "out" else x
            expected = expected + factors[tag] * seen.t() @ seen
        torch.testing.assert_close(capture.grams[name].matrix, expected)
        assert torch.equal(store.load_gram(3, name).matrix, capture.grams[name].matrix)
    assert Capture(toy, block_of("query").linears, ("square",)).grams == {}


class Fickle(Toy):
    """The key is fed the query's input in the first batch, and its own in the others."""

    seen = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        return self.out(self.query(x) * self.key(x if self.seen == 1 else x + 1))


class Idle(Toy):
    """The key joins in the second batch."""

    seen = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        return self.query(x) if self.seen == 1 else self.query(x) + self.key(x)


@pytest.mark.parametrize("kind", [Fickle, Idle])
def test_inputs_shared_now_and_then_are_refused_for_a_gram_matrix(kind: type[Toy]) -> None:
    toy = kind()
    capture = Capture(toy, block_of("query", "key").linears, ("gram",), {"de": 1.0, "sw": 1.0})

    def collect() -> None:
        run(toy, capture, batches())
        capture.check(0)

    with pytest.raises(InputError, match=r"linear key: expected inputs that are, or are not"):
        collect()


@pytest.mark.parametrize("needs", [("square",), NEEDS])
def test_the_store_gives_back_every_number(toy: Toy, tmp_path: Path, needs: Any) -> None:
    capture = Capture(toy, block_of("query", "out").linears, needs)
    run(toy, capture, batches())
    store = StatisticsSpill(tmp_path, ["de", "sw"], FeatureSums.parts_of(needs))
    store.add(block_of("query", "out"), capture.sums, {})
    loaded = store.load(3)
    assert loaded.keys() == capture.sums.keys()
    for name, languages in capture.sums.items():
        assert loaded[name].keys() == languages.keys()
        for tag, sums in languages.items():
            assert loaded[name][tag].tokens == sums.tokens
            assert torch.equal(loaded[name][tag].square, sums.square)
            assert (loaded[name][tag].active is None) is (sums.active is None)
            if sums.active is not None:
                assert torch.equal(loaded[name][tag].active, sums.active)


class Counted(Toy):
    """Notes how often its last linear's product was made."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = super().forward(x)
        self.made += 1
        return made


@torch.no_grad()
def run_for_inputs(toy: Toy, names: list[str], *, whole: bool) -> Capture:
    with Capture(toy, block_of(*names).linears, NEEDS) as capture:
        for tag, x in batches():
            capture.run(lambda x=x: toy(x), tag, whole=whole)
    return capture


@pytest.mark.parametrize("names", [["query", "key", "out"], ["key"], ["query"]])
def test_a_forward_for_inputs_only_ends_at_the_last_of_them(names: list[str]) -> None:
    torch.manual_seed(0)
    toy = Counted()
    whole = run_for_inputs(toy, names, whole=True)
    assert toy.made == 3
    early = run_for_inputs(toy, names, whole=False)
    assert toy.made == 4  # the first batch shows what is called
    for name in names:
        for tag in ("de", "sw"):
            assert torch.equal(early.sums[name][tag].square, whole.sums[name][tag].square)
            assert early.sums[name][tag].tokens == whole.sums[name][tag].tokens


def test_a_linear_that_is_called_twice_is_heard_twice() -> None:
    class Twice(Counted):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.idle(super().forward(self.idle(x)))

    torch.manual_seed(0)
    toy = Twice()
    whole = run_for_inputs(toy, ["query", "idle"], whole=True)
    early = run_for_inputs(toy, ["query", "idle"], whole=False)
    assert torch.equal(early.sums["idle"]["de"].square, whole.sums["idle"]["de"].square)
    assert early.sums["idle"]["de"].tokens == 2 * 15
