"""Gates: which languages may lose how much, and shares as they are written."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest

from mwanda.errors import GateError, InputError
from mwanda.evaluation.gate import Gate, parse_language_shares, parse_share, percent
from mwanda.evaluation.results import Comparison
from tests.evaluation.test_results import DENSE, PRUNED, evaluation


@pytest.mark.parametrize(
    ("limit", "failed"), [(0.1, []), (0.2, []), (0.09, ["hi"]), (0.0, ["de", "hi"])]
)
def test_the_gate_names_every_language(limit: float, failed: list[str]) -> None:
    compared = Comparison.of(DENSE, PRUNED)
    if not failed:
        Gate(limit).check(compared)
        return
    with pytest.raises(GateError) as error:
        Gate(limit).check(compared)
    assert error.value.exit_code == 3
    for tag in ("de", "hi", "sw"):
        assert (f"{tag} +" in str(error.value)) is (tag in failed)


def test_a_model_that_gives_nan_does_not_pass() -> None:
    broken = evaluation({"de": (math.nan,) * 2, "hi": (1.0,) * 2, "sw": (1.0,) * 2})
    with pytest.raises(GateError, match="de"):
        Gate(100.0).check(Comparison.of(DENSE, broken))


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 0.05), ("0.05", 0.05), (" 5 % ", 0.05), ("0", 0.0), ("150%", 1.5), ("1e-2", 0.01)],
)
def test_a_share(text: str, share: float) -> None:
    assert parse_share(text, "--gate") == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "five", "-1%", "nan", "nan%", "inf", "5%%", "1e999"])
def test_no_share(text: str) -> None:
    with pytest.raises(InputError, match="--gate: expected a share such as 5% or"):
        parse_share(text, "--gate")


def test_a_language_may_have_a_limit_of_its_own() -> None:
    compared = Comparison.of(DENSE, PRUNED)  # de +5 %, hi +10 %, sw −12.5 %
    assert not Gate(0.05, {"hi": 0.1}).failed(compared)
    assert [r.language for r in Gate(0.1, {"de": 0.04}).failed(compared)] == ["de"]
    assert [r.language for r in Gate(None, {"hi": 0.09}).failed(compared)] == ["hi"]
    told = Gate(0.2, {"hi": 0.0}).as_dict(compared)
    assert told["failed"] == {"hi": {"relative": 0.1, "limit": 0.0}}
    assert told["passed"] is False
    json.dumps(told, allow_nan=False)
    with pytest.raises(GateError, match=r"more than 20% .*\(hi 0%\), found hi \+10\.00%"):
        Gate(0.2, {"hi": 0.0}).check(compared)


def test_a_gate_is_parsed_and_all_mistakes_told() -> None:
    assert Gate.parse(None, [], "--gate") is None
    assert Gate.parse("5%", ["swh_Latn=2%"], "--gate") == Gate(0.05, {"sw": 0.02})
    assert Gate.parse(None, ["de=0"], "--gate") == Gate(None, {"de": 0.0})
    with pytest.raises(InputError) as error:
        Gate.parse("x", ["de", "sw=2%", "sw=3%", "hi=y"], "--gate")
    assert len(error.value.problems) == 4


def test_a_limit_for_a_language_that_is_not_scored() -> None:
    Gate(0.1, {"de": 0.1}).check_languages(["de", "sw"])
    with pytest.raises(InputError, match="--language: expected languages of the text: de, sw"):
        Gate(0.1, {"fr": 0.1}).check_languages(["de", "sw"])


def test_shares_by_language() -> None:
    assert parse_language_shares(["de=5%", "zh-Hant=0.1"], "--l") == {"de": 0.05, "zh-Hant": 0.1}


def many(factor: float, noise: float) -> Any:
    rows = [30.0 + number for number in range(12)]
    made = evaluation({"de": tuple(
        row * (factor + noise * (-1) ** number) for number, row in enumerate(rows)
    )})  # fmt: skip
    return replace(made, ids={"de": tuple(range(0, 1200, 100))})  # each an article


def test_the_upper_end_of_the_interval_may_decide() -> None:
    compared = Comparison.of(many(1, 0), many(1.04, 0.05))
    Gate(0.05).check(compared)
    with pytest.raises(GateError, match=r"found de \+3\.\d+% \(95 % interval \+.* to \+"):
        Gate(0.05, on="upper").check(compared)
    Gate(0.1, on="upper").check(compared)
    one = Gate(0.05, on="upper").judge(compared)[0]
    assert one.low < one.relative < 0.05 < one.high
    assert one.margin == pytest.approx(0.05 - one.high)
    assert Gate.parse("5%", [], "--gate", "upper") == Gate(0.05, on="upper")
    with pytest.raises(InputError, match="--gate-on: expected point or upper, found 'mean'"):
        Gate.parse("5%", [], "--gate", "mean")


def test_every_language_is_told_with_interval_and_margin() -> None:
    compared = Comparison.of(many(1, 0), many(1.04, 0.01))
    told = Gate(0.05).text(compared)
    line = r"PASS de: \+3\.\d+%, 95 % interval \+3.* to \+4.*; limit 5%, margin \+1"
    assert re.search(line, told)
    assert "gate: PASS (1 language judged by the rise itself)" in told
    assert "gate: FAIL: de (1" in Gate(0.01).text(compared)
    judged = Gate(0.05).as_dict(compared)["judged"]["de"]
    assert judged["low"] < judged["relative"] < judged["high"]
    assert judged["margin"] == pytest.approx(0.05 - judged["relative"])


def test_without_an_interval_the_upper_end_fails_and_says_why() -> None:
    compared = Comparison.of(DENSE, PRUNED)
    gate = Gate(9.0, on="upper")
    with pytest.raises(GateError, match="no interval: too little text"):
        gate.check(compared)
    json.dumps(gate.as_dict(compared), allow_nan=False)
    assert "PASS de: +5.00%, no interval: too little text" in Gate(9.0).text(compared)


@pytest.mark.parametrize(
    ("share", "sign", "shown"),
    [(0.0001, "", "0.01%"), (0.05, "", "5%"), (0.07, "", "7%"), (1e-7, "", "1e-05%"),
     (0.00012, "+", "+0.0120%"), (0.1, "+", "+10.00%"), (0, "+", "+0.00%"), (-0.2, "+", "-20.00%"),
     (math.inf, "+", "+inf%"), (12.3, "+", "+1230.00%")],
)  # fmt: skip
def test_a_small_share_is_not_shown_as_nothing(share: float, sign: str, shown: str) -> None:
    assert percent(share, sign) == shown
