"""Keep the state of one architecture in a race, and compare it with others."""

import math
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from evergreen.models.work import Work
from evergreen.stages.trials.out_of_fold import MIN_STEPS, FoldPlan, build_network, kept_epoch, load
from evergreen.stages.trials.trial import Score

MIN_EFFECTIVE_ROWS = 30.0  # that carry the variance of a mean, below which a few wild rows are it
TRIMMED_SHARE = 0.02  # of the rows at either end, where tails are that heavy
SPREAD = 0.03  # of the best one's mean, by which finalists truly differ: what was measured is drawn towards it
MAX_COST = 0.01  # of the best one's mean row score, that a cheaper answer may be expected to cost
BASELINE_GAP = 2.0  # standard errors, by which another must be better than the baseline
FEW_ROWS = 1_000  # below which a baseline may cost more, as many times as there are fewer
DOUBLINGS = 2.0  # of its updates, over which a contender may gain as much as over the last one


class ContenderState:
    """Hold the scores and the progress of one architecture in a race."""

    def __init__(self, name: str, seed: int, is_baseline: bool = False, code: str = "") -> None:
        self.name, self.seed, self.is_baseline, self.code = name, seed, is_baseline, code
        self.options: dict[str, Any] = {}  # where they are not its defaults
        self.has_wild_rows = True  # False where a row's score is a log-loss: a rare large one is what is judged
        self.plan: FoldPlan | None = None  # of its folds, once there are any
        self.parameters = 0
        self.work: Work | None = None  # None where it cannot be built
        self.steps = self.chunk = 0  # updates in an epoch, and between two comparisons
        self.goal = 0  # updates done by the trial of the first seed
        self.score: Score | None = None  # of the first seed
        self.gain: float | None = 0.0  # of the score since half of the epochs, None where there were fewer than two
        self.scores: list[float] = []  # per seed, each trained as long as the first
        self.rows: list[list[float]] = []  # per seed: the deciding quantity of each validation row
        self.error = 0.0  # of one seed's score, by bootstrapping validation rows
        self.rung = 0
        self.final = False  # scored by its full configuration
        self.folds = 0  # over which it was scored, 0 where it was over seeds
        self.predict_ms: float | None = None  # of one validation row; for information only
        self.worker: int | None = None  # that holds the trial
        self.deaths = 0  # of processes that trained it
        self.reason = ""  # why there is no score
        self.failed = False  # True if the trial failed, False if only the time ran out

    def measured(self, answer: dict[str, Any]) -> None:
        """Record what its work was counted to be."""
        if "reason" in answer:
            return self.fail(answer["reason"])
        self.work, self.parameters = Work(**answer["work"]), answer["parameters"]
        self.steps, self.chunk = answer["steps"], answer["chunk"]

    def fail(self, reason: str) -> None:
        """Record that it cannot train."""
        self.reason, self.failed, self.score, self.scores, self.rows = reason, True, None, [], []

    def add_rung(self, answer: dict[str, Any], rung: int) -> None:
        """Record what a worker reports about the trial after a rung."""
        if "reason" in answer:
            return self.fail(answer["reason"])
        self._record(answer)
        self.rung, self.scores, self.rows = rung, [answer["score"].value], [answer["rows"]]
        self.gain = 0.0 if self.goal >= self.full_steps else answer["gain"]

    def _record(self, answer: dict[str, Any]) -> None:
        self.score, self.error, self.parameters = answer["score"], answer["error"], answer["parameters"]
        self.predict_ms = answer.get("predict_ms")

    def add_final_score(self, answer: dict[str, Any]) -> None:
        """Add the score of a full run with another seed."""
        self._record(answer)
        if not self.final:
            self.scores, self.rows, self.final = [], [], True
        self.scores.append(answer["score"].value)
        self.rows.append(answer["rows"])

    def add_folds(self, answer: dict[str, Any], n_folds: int) -> None:
        """Replace its scores by those of the folds that are trained: as the model would answer that train makes."""
        if "reason" in answer:
            return self.fail(answer["reason"])
        assert self.plan
        found, task = load(self.plan, n_folds), build_network(self.plan)[0].task
        assert found
        epoch = kept_epoch(self.plan, found, task)
        self.scores, rows, loss = found.judge(task, epoch)
        self.rows, self.folds = [rows], n_folds
        self.score = Score(self.mean, loss, epoch, answer["seconds"])

    @property
    def mean(self) -> float:
        """The mean score over folds."""
        return sum(self.scores) / len(self.scores)

    def rank(self, direction: str) -> tuple[float, float]:
        """Return a sort key, higher is better; below everything where there is no score."""
        return self.score.rank(direction) if self.score else (-math.inf, -math.inf)

    @property
    def full_steps(self) -> int:
        """The updates of its whole configuration."""
        assert self.work
        return round(self.steps * self.work.full / self.work.epoch)

    @property
    def fold_work(self) -> float:
        """The nominal seconds of training one fold."""
        assert self.work
        return self.work.full * max(1.0, MIN_STEPS / self.full_steps)

    def may_reach(self, other: Self, direction: str) -> bool:
        """Tell whether it may still come to be as good as `other`: what it gained lately says so, or the same rows do.

        Learning curves are convex, so what the last doubling of the updates gained bounds what each further one gains
        (Mohr and van Rijn 2021, "Fast and Informative Model Selection using Learning Curve Cross-Validation").
        """
        standing = self.rank(direction)[0]
        if self.gain is None or standing == -math.inf:
            return standing > -math.inf
        hoped = standing + DOUBLINGS * self.gain
        return hoped >= other.rank(direction)[0] or self.paired_gap(other) <= 1

    def paired_gap(self, other: Self) -> float:
        """Return the difference to `other` on the same rows, in standard errors of that difference.

        A few wild rows make the standard error of a mean meaningless, however clear all other rows are: Student's t is
        1 where one row is all of it. Where so few carry the variance, the trimmed mean and its standard error from the
        winsorised rows (Yuen 1974, "The Two-Sample Trimmed t for Unequal Population Variances") count if they are
        surer and point to the same side. Not so of log-losses: being wrong and certain is rare, and nearly all of them.
        """
        mine, theirs = (np.mean(contender.rows, axis=0) for contender in (self, other))
        differences = np.sort(mine - theirs)
        rows, mean = len(differences), float(differences.mean())
        if rows < 2:
            return math.inf if mean else 0.0
        gap = _in_standard_errors(mean, float(differences.var(ddof=1)) / rows)
        centred = (differences - mean) ** 2
        cut = max(1, int(TRIMMED_SHARE * rows))
        is_heavy = float(centred.sum()) ** 2 < MIN_EFFECTIVE_ROWS * float((centred**2).sum())
        if not (self.has_wild_rows and is_heavy) or rows <= 4 * cut:
            return gap
        trimmed = float(differences[cut:-cut].mean())
        winsorised = np.clip(differences, differences[cut], differences[-cut - 1])
        kept = rows - 2 * cut
        error = float(winsorised.var(ddof=1)) * (rows - 1) / (kept * (kept - 1))
        return max(gap, _in_standard_errors(trimmed, error)) if trimmed * mean > 0 else gap

    def is_clearly_worse(self, other: Self) -> bool:
        """Tell whether the same rows tell it from `other`, or it is expected to cost more than next to nothing.

        The best of many looks better than it is, the more so the fewer rows there are, and is another one by other
        rows. So the baseline, which was there before the race, is told by twice the standard error, and may cost more.
        """
        gap, cost = 1.0, MAX_COST
        if self.is_baseline:
            gap, cost = BASELINE_GAP, MAX_COST * max(1.0, FEW_ROWS / len(self.rows[0]))
        return self.paired_gap(other) > gap or self.expected_cost(other) > cost

    def expected_cost(self, best: Self) -> float:
        """Return what choosing it in the place of `best` is expected to cost, as a fraction of its mean row score.

        The difference on the same rows is shrunk by the more, the less certain it is (Efron and Morris 1975, "Data
        Analysis Using Stein's Estimator and Its Generalizations").
        """
        mine, theirs = (np.mean(contender.rows, axis=0) for contender in (self, best))
        scale, differences = abs(float(theirs.mean())), mine - theirs
        if not scale or len(differences) < 2:
            return 0.0
        cost = abs(float(differences.mean())) / scale
        variance = float(differences.var(ddof=1)) / len(differences) / scale**2
        return cost * SPREAD**2 / (SPREAD**2 + variance)

    def to_row(self) -> dict[str, Any]:
        """Return its row of the leaderboard."""
        score = self.score
        row = {
            "architecture": self.name,
            "parameters": self.parameters or None,
            "epochs": score.epochs if score else 0,
            "rung": self.rung,
            "score": self.mean if self.scores else None,
            "scores": self.scores,
            "standard_error": self.error if self.scores else None,
            "seconds": round(score.seconds, 2) if score else 0.0,
            "predict_ms": round(self.predict_ms, 4) if self.predict_ms else None,
            "work": asdict(self.work) if self.work else None,
            "steps": self.steps,
        } | ({"options": self.options} if self.options else {})
        return {**row, "reason": self.reason} if self.reason else row


def _in_standard_errors(mean: float, squared_error: float) -> float:
    return abs(mean) / math.sqrt(squared_error) if squared_error else (math.inf if mean else 0.0)
