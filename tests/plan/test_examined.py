"""A clock is off by what no round trip explains."""

from __future__ import annotations

import pytest

from nixhive_nb.plan.examined import ClockSpan


@pytest.mark.parametrize(
    ("said", "grain", "offset"),
    [
        (1000.0, 0.0, 0.0),
        (1004.0, 0.0, 0.0),
        (1010.0, 0.0, 0.0),
        (1010.5, 0.0, 0.5),
        (4610.0, 0.0, 3600.0),
        (999.0, 0.0, -1.0),
        (999.0, 1.0, 0.0),
        (998.0, 1.0, -1.0),
    ],
)
def test_what_lies_between_question_and_answer_is_right(said, grain, offset):
    assert ClockSpan(said=said, grain=grain, asked=1000.0, heard=1010.0).offset == offset
