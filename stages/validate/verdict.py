"""Decide from the evidence: release the candidate, keep the released version, or collect more data first.

By default (`release_when: better`) a version is replaced only by one that is significantly better. When the data drift,
the test rows drift too, the released version scores worse on them, and the difference becomes significant. With
`release_when: not worse` a candidate may be worse by up to `equivalence_margin`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from evergreen.pages.wording import format_gap, percent
from evergreen.stages.validate.config import ValidateConfig
from evergreen.stages.validate.evidence import Evidence, PairedDifference
from evergreen.stages.validate.statistics import rows_needed

MAX_CLASSES = 5  # new ones that a sentence names
SIMPLER = {  # models worth a remark where they are better than the candidate
    "reference": "A simple model, {},",
    "scratch": "The transfer hurts: {}",
    "svm": "Its head is not the best use of its features: {}",
}


@dataclass(frozen=True)
class Verdict:
    """Say what to do with a candidate, in a word and in a sentence."""

    word: Literal["release", "ask", "keep", "more data"]  # ask: better, but a person has to say so
    why: str
    rows_needed: int = 0  # about how many more test rows the decision needs; 0 where it is made


def decide(evidence: Evidence, gaps: Mapping[str, PairedDifference], config: ValidateConfig) -> Verdict:
    """Decide about the candidate by its differences to "baseline" and, where that could predict, "released"."""
    verdict = _ask_a_person(_decide(evidence, gaps, config), evidence)
    why = verdict.why
    for role, text in SIMPLER.items():
        gap = gaps.get(role)
        if gap and gap.p < 1 - config.confidence and gap.share.value < 0:
            why += f" {text.format(evidence.opponents[role].name)} does better still."
    return replace(verdict, why=why)


def _ask_a_person(verdict: Verdict, evidence: Evidence) -> Verdict:
    """Leave to a person what a comparison cannot settle: another target or input, new classes, a provisional choice."""
    if verdict.word != "release":
        return verdict
    if provisional := evidence.model.card.get("provisional"):
        reason = f"The choice is provisional ({provisional})"
    elif evidence.refusal:
        reason = f"The released {evidence.version} cannot predict these rows ({evidence.refusal})"
    elif evidence.new_classes:
        shown = ", ".join(map(str, evidence.new_classes[:MAX_CLASSES])) + " …" * (
            len(evidence.new_classes) > MAX_CLASSES
        )
        reason = f"The released {evidence.version} does not know {shown} and counts as wrong there"
    else:
        return verdict
    return replace(verdict, word="ask", why=f"{verdict.why} {reason}, so a person decides.")


def _decide(evidence: Evidence, gaps: Mapping[str, PairedDifference], config: ValidateConfig) -> Verdict:
    baseline, released = gaps["baseline"], gaps.get("released")
    rows = f"on the same {evidence.rows:,} test rows"
    if released is None:
        return _decide_by(baseline, "the baseline", rows, config)
    if evidence.released and evidence.candidate.answers() == evidence.released.answers():
        return Verdict(
            "keep", f"It predicts all {evidence.rows:,} test rows exactly as the released {evidence.version} does."
        )
    if baseline.p < 1 - config.confidence and baseline.share.value < 0:
        return Verdict("keep", f"It is worse than the baseline: {format_gap(baseline.to_json())} {rows}.")
    not_worse = config.release_when == "not worse"
    return _decide_by(released, f"the released {evidence.version}", rows, config, not_worse=not_worse)


def _decide_by(
    gap: PairedDifference, other: str, rows: str, config: ValidateConfig, *, not_worse: bool = False
) -> Verdict:
    share, margin = gap.share, config.equivalence_margin
    low, high = share.bounds
    difference = f"{format_gap(gap.to_json())} {rows}"
    sure = gap.p < 1 - config.confidence
    if sure and share.value > 0:
        return Verdict("release", f"It is better than {other}: {difference}.")
    if not_worse and low > -margin:
        return Verdict(
            "release", f"It is not worse than {other} by more than the margin of {margin:.3g}: {difference}."
        )
    if sure:
        return Verdict("keep", f"It is worse than {other}: {difference}.")
    if -margin <= low and high <= margin:
        return Verdict("keep", f"It equals {other} within the margin of {margin:.3g}: {difference}.")
    more = more_rows(gap, config)
    advice = (
        f"a difference of {percent(max(abs(share.value), margin))} would take about {more:,} more test rows to show"
    )
    return Verdict("more data", f"It cannot be distinguished from {other}: {difference}; {advice}.", more)


def more_rows(gap: PairedDifference, config: ValidateConfig) -> int:
    """Return how many test rows to add to find the observed difference (at least the margin) with a power of 0.8."""
    difference = max(abs(gap.share.value), config.equivalence_margin)
    min_deviation = math.sqrt(difference * (1 - difference)) if gap.of == "rows" and difference < 1 else 0.0
    n_needed = rows_needed(difference, max(gap.deviation, min_deviation), confidence=config.confidence)
    more = max(1, n_needed - gap.rows)
    unit = 10 ** max(0, len(str(more)) - 2)
    return int(math.ceil(more / unit) * unit)
