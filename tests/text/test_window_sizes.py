"""Sizes nobody asked for shrink to what there is; those that were asked for do not."""

from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mwanda.errors import InputError
from mwanda.text.window_sizes import FLOOR, NAMED, SHORTEST, Sizes, say_shrunk


@pytest.mark.parametrize(
    ("asked", "context", "have", "start", "expected"),
    [
        # nobody asked: as many windows as by default, or fewer, of which all text is used
        ((None, None), None, 300_000, 0, (128, 2048)),
        ((None, None), None, 128 * 2047, 1, (128, 2047)),
        ((None, None), None, 128 * 2047 - 1, 1, (128, 2046)),
        ((None, None), 256, 10**6, 0, (128, 256)),
        ((None, None), 256, 10_000, 1, (40, 250)),
        ((None, None), None, 5000, 0, (8, 625)),  # several, so that one of them is little
        ((None, None), None, 20_000, 0, (10, 2000)),
        ((None, None), None, FLOOR, 0, (FLOOR // 256, 256)),  # and not shorter than 256
        ((None, None), None, FLOOR - 1, 0, None),
        ((None, None), 64, FLOOR, 1, (17, 60)),
        # one asked for
        ((4, None), None, 5000, 0, (4, 1250)),
        ((4, None), None, 10_000, 0, (4, 2048)),
        ((4, None), 100, 10_000, 0, (4, 100)),
        ((100, None), None, 5000, 0, None),  # windows of 50
        ((100, None), 64, 6300, 0, (100, 63)),
        ((None, 64), None, 5000, 0, (78, 64)),
        ((None, 4096), None, 4095, 0, None),
        ((None, 64), None, FLOOR - 64, 0, None),
        # both
        ((4, 64), None, 256, 0, (4, 64)),
        ((4, 64), None, 255, 0, None),
    ],
)
def test_what_a_language_gives(
    asked: tuple[int | None, int | None],
    context: int | None,
    have: int,
    start: int,
    expected: tuple[int, int] | None,
) -> None:
    assert Sizes.of(*asked).within(context).fitted(have, start) == expected


@pytest.mark.parametrize(
    ("windows", "have", "expected"),
    [(128, 128 * 128, (128, 128)), (128, 128 * 128 - 1, (127, 129)), (128, 1200, (9, 133)),
     (8, 1031, (8, 128)), (8, 1016, (7, 145)),
     (4, 900, (4, 225)), (2, 40, (1, 40))],
)  # fmt: skip
def test_windows_of_short_text_get_fewer_before_they_get_tiny(
    windows: int, have: int, expected: tuple[int, int]
) -> None:
    assert Sizes.of(windows, None, allow_short=True).fitted(have, 1) == expected


@given(
    asked=st.tuples(st.none() | st.integers(1, 99), st.none() | st.integers(4, 3000)),
    context=st.none() | st.integers(4, 3000),
    have=st.integers(0, 400_000),
    start=st.integers(0, 3),
    allow_short=st.booleans(),
)
def test_no_more_than_there_is_and_asked_for_in_any_case(
    asked: tuple[int | None, int | None],
    context: int | None,
    have: int,
    start: int,
    allow_short: bool,
) -> None:
    sizes = Sizes.of(*asked, allow_short=allow_short)
    if asked[1] is not None and context is not None and asked[1] > context:
        with pytest.raises(InputError, match=f"pass --window-length {context}"):
            sizes.within(context)
        return
    used = sizes.within(context)
    assert (used.fitted(have, start) is None) == (have < used.least(start))
    found, need = used.fitted(have, start), used.windows * (used.length - start)
    if found is None:
        assert have < need
        assert not allow_short or have < 2
        return
    windows, room = found
    assert 0 < windows * room <= have
    assert windows <= used.windows
    assert room + start <= used.length
    assert have < need or found == (used.windows, used.length - start)
    if asked[1] is None and windows > 1:
        assert room >= min(SHORTEST, (used.length - start) // 2)
    if not allow_short and have < need:
        assert have >= min(FLOOR, need)
        assert room >= min(SHORTEST, (used.length - start) // 2)
        assert asked[0] in (None, windows)
        assert asked[1] in (None, room + start)
    if asked == (None, None):
        assert windows * room == need or windows * room > have - windows  # all of the text is used


def options_in(message: str) -> tuple[int, int] | None:
    found = re.search(r"--windows (\d+) --window-length (\d+)", message)
    return None if found is None else (int(found[1]), int(found[2]))


@pytest.mark.parametrize("asked", [(None, None), (9, None), (None, 500), (9, 500)])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_what_the_message_says_to_paste_can_be_had(
    asked: tuple[int | None, int | None], start: int
) -> None:
    for have in ({"am": 700, "sw": 900}, {"am": 40}, {"sw": 1}):
        error = Sizes.of(*asked).too_little(have, start, ["de"])
        assert len(error.problems) == len(have)
        for (tag, tokens), problem in zip(have.items(), error.problems, strict=True):
            assert problem.startswith(f"language '{tag}': expected ")
            assert f"found {tokens}; add text" in problem
            assert "--languages de," in problem
            paste = options_in(problem)
            if paste is None:
                assert (tokens, start) == (1, 0)
            else:
                assert all(Sizes.of(*paste).fitted(n, start) is not None for n in have.values())
    nothing = Sizes.of(*asked, allow_short=True).too_little({"am": 0}, start, ["de"])
    assert str(nothing).endswith("found 0; add text")


def test_the_least_that_a_message_names_is_more_than_was_found() -> None:
    told = str(Sizes.of(64, None).too_little({"sv": 3600}, 1, []))
    assert "for 64 windows of 2048, or by default at least 8192, found 3600" in told


def test_one_line_says_what_shrank(caplog: pytest.LogCaptureFixture) -> None:
    asked = Sizes.of(None, None)
    with caplog.at_level(logging.INFO, logger="mwanda"):
        say_shrunk(asked, asked, {"de": (128, 2048)})
        assert caplog.messages == []
        say_shrunk(asked, asked.within(256), {"de": (128, 256), "am": (7, 250)})
        assert caplog.messages == [
            "calibration windows: fewer than 128 of 2048 tokens a language: the model's context is "
            "256 tokens; am has text for 7 windows of 250 tokens"
        ]
        caplog.clear()
        say_shrunk(asked, asked, {f"a{n}": (1, 1500) for n in range(NAMED + 5)})
        assert len(caplog.messages) == 1
        assert caplog.messages[0].count("has text") == NAMED
        assert caplog.messages[0].endswith("5 more languages have less text too")
