"""Gates: which languages may lose how much, and shares as they are written."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
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
        Gate("10000%").check(Comparison.of(DENSE, broken))


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 0.05), ("0.05", 0.05), (" 5 % ", 0.05), ("0", 0.0), ("150%", 1.5), ("1e-2", 0.01)],
)
def test_a_share(text: str, share: float) -> None:
    assert parse_share(text, "--gate") == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["", "%", "five", "-1%", "nan", "nan%", "inf", "5%%", "1e999", "1", "1.0", "5"]
)
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
    assert "inside the interval" not in told
    close = Gate(compared.rises[0].relative + 1e-4)
    assert "the limit is inside the interval of de: other text may" in close.text(compared)
    judged = Gate(0.05).as_dict(compared)["judged"]["de"]
    assert judged["low"] < judged["relative"] < judged["high"]
    assert judged["margin"] == pytest.approx(0.05 - judged["relative"])


def test_without_an_interval_the_upper_end_fails_and_says_why() -> None:
    compared = Comparison.of(DENSE, PRUNED)
    gate = Gate("900%", on="upper")
    with pytest.raises(GateError, match="no interval: too little text"):
        gate.check(compared)
    json.dumps(gate.as_dict(compared), allow_nan=False)
    assert "PASS de: +5.00%, no interval: too little text" in Gate("900%").text(compared)


@pytest.mark.parametrize(
    ("share", "sign", "shown"),
    [(0.0001, "", "0.01%"), (0.05, "", "5%"), (0.07, "", "7%"), (1e-7, "", "1e-05%"),
     (0.00012, "+", "+0.0120%"), (0.1, "+", "+10.00%"), (0, "+", "+0.00%"), (-0.2, "+", "-20.00%"),
     (math.inf, "+", "+inf%"), (12.3, "+", "+1230.00%")],
)  # fmt: skip
def test_a_small_share_is_not_shown_as_nothing(share: float, sign: str, shown: str) -> None:
    assert percent(share, sign) == shown


def test_a_bare_one_is_not_taken_for_all() -> None:
    with pytest.raises(InputError, match="found 1; write 1%, or 100%"):
        parse_share("1", "--gate")
    assert parse_share("100%", "--gate") == 1


def test_a_number_of_one_or_more_from_python_may_be_meant_in_per_cent() -> None:
    for given in ({"limit": 5}, {"languages": {"sw": np.float32(5)}}, {"limit": Fraction(5)}):
        with pytest.raises(InputError, match=r'0\.05 or "5%", found .*; write "5%", or "500%"'):
            Gate(**given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match='found 1; write "1%", or "100%"'):
        Gate(1)
    assert (Gate("500%").limit, Gate(0.99).limit) == (5.0, 0.99)
    assert Gate.parse("500%", ["sw=200%", "de=0.123456789012"], "--gate") == Gate(
        "500%", {"sw": "200%", "de": 0.123456789012}
    )


def test_a_gate_from_python() -> None:
    assert Gate("5%", {"swh_Latn": "2%"}) == Gate(0.05, {"sw": 0.02})  # type: ignore[arg-type, dict-item]
    assert Gate(np.float32(0.5)) == Gate(Fraction(1, 2)) == Gate(0.5)  # type: ignore[arg-type]
    compared = Comparison.of(DENSE, PRUNED)
    assert not Gate(None, {"sw": -0.1}).failed(compared)  # it has to gain, and does
    assert [one.language for one in Gate(None, {"deu": 0.04}).failed(compared)] == ["de"]
    with pytest.raises(InputError, match="expected languages of the text: de, hi, sw"):
        Gate(0.1, {"fr": 0.1}).judge(compared)


@pytest.mark.parametrize(
    "given",
    [{"limit": math.nan}, {"limit": "-1%"}, {"limit": math.inf}, {"limit": True}, {"limit": "1"},
     {"limit": "much"}, {"limit": b"5%"}, {"on": "uper"}, {"on": None}, {"on": ["point"]},
     {"languages": {"xx1": 0.1}}, {"languages": {"de": math.nan}}, {"languages": {"de": None}},
     {"languages": {"de": 0.1, "deu": 0.2}}, {"languages": {None: 0.1}}, {"languages": "de=5%"},
     {"languages": None}],
)  # fmt: skip
def test_what_is_no_gate(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Gate(**given)


def test_all_that_is_wrong_with_a_gate_is_told() -> None:
    given: dict[str, Any] = {"limit": "-1", "languages": {"de": "x", "hi": 2j}, "on": "mean"}
    with pytest.raises(InputError) as error:
        Gate(**given)
    assert len(error.value.problems) == 4


def test_what_decides_needs_a_limit() -> None:
    with pytest.raises(InputError, match="--gate-on: expected a limit, --gate or --language"):
        Gate.parse(None, [], "--gate", "upper")


def test_a_baseline_that_could_not_be_checked_is_told() -> None:
    compared = Comparison.of(DENSE, PRUNED)
    assert "could not be checked" not in Gate("900%").text(compared)
    said = "the baseline could not be checked: no manifest says what org/model was pruned from"
    assert said in Gate("900%").text(compared, None)
