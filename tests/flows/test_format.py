"""What is said of scores."""

from __future__ import annotations

from typing import Any

from evergreen.flows.format import format_scores, scores_table


def test_a_score_without_an_interval_stands_alone():
    bare: dict[str, Any] = {"fid": {"value": 0.25, "low": None, "high": None}}
    sure: dict[str, Any] = {"accuracy": {"value": 0.9, "low": 0.85, "high": 0.95}}
    some = {"confidence": 0.95, "rows": 360}
    assert format_scores({**some, "test": bare}) == "fid 0.25; over 360 test rows"
    assert format_scores({**some, "test": bare | sure}) == (
        "fid 0.25, accuracy 0.9 (0.85 to 0.95); 95% intervals over 360 test rows"
    )
    assert "| fid | 0.25 |  |" in scores_table({**some, "test": bare | sure}).splitlines()
