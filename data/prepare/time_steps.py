"""Measure the steps between the times of rows, and say what is irregular about them."""

import re

import numpy as np

from evergreen.data.prepare.windows import MAX_REPEATED

DAY = 86_400_000_000  # microseconds
STEPS = {  # name → length in days, to an eighth
    **{"second": 1 / 86_400, "minute": 1 / 1440, "hour": 1 / 24, "day": 1.0, "week": 7.0},
    **{"month": 30.4, "quarter": 91.3, "year": 365.25},
}
MAX_DAYS = 4  # days between rows up to which weekdays are looked at
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MIN_USUAL = 0.7  # share of the steps that must be alike for the rows to be a series; workdays have 0.8
WIDTH = 0.25  # how much a usual step may differ from the median one: months differ less
MIN_ROWS = 20  # from which on an uneven series, or the order of rows, is no chance
PAUSES = 0.3  # share of the steps that are missing from which on they are pauses: nights, weekends
RARE = 0.02  # share of the rows on a weekday below which it is one without rows


class Steps:
    """Measure the steps between neighbours in time of (N,) times, each in its series (N,).

    Between days they count the weekdays that come at all.
    """

    def __init__(self, times: np.ndarray, series: np.ndarray, *, is_date: bool) -> None:
        order = np.lexsort((times, series))
        self.times, self.series, self.is_date = times[order], series[order], is_date
        steps, same = np.diff(self.times), np.diff(self.series) == 0
        self.twice = np.flatnonzero(same & (steps == 0)) + 1  # rows whose time comes a second time
        self.before = np.flatnonzero(same & (steps > 0))  # rows that another one of their series comes after
        self.free: list[str] = []  # weekdays that hardly ever come
        steps = steps[self.before]
        if (
            is_date
            and len(steps)
            and np.median(steps) < MAX_DAYS * DAY
            and not (self.times % DAY - times[0] % DAY).any()
        ):
            steps, self.free = self._count_days(self.times[self.before], self.times[self.before + 1])
        self.median = float(np.median(steps)) if len(steps) else 0.0
        self.ratio = steps / self.median if self.median else steps
        self.repeated = len(self.twice) / max(1, len(times))

    @staticmethod
    def _count_days(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Return (steps between days (N,) without the weekdays that hardly ever come, in microseconds; these)."""
        first, last = (times.astype("datetime64[us]").astype("datetime64[D]") for times in (before, after))
        counts = np.bincount((last.astype(np.int64) + 3) % 7, minlength=7)  # 1970 began on a Thursday
        mask = counts >= max(1, RARE * len(last))
        steps = np.maximum(1, np.busday_count(first, last, weekmask=mask)) * float(DAY)
        return steps, [word for word, is_common in zip(WEEKDAYS, mask, strict=True) if not is_common]

    @property
    def are_even(self) -> bool:
        """Return whether the rows are a series, or several."""
        if len(self.ratio) < 2 or self.repeated > MAX_REPEATED:
            return False
        usual = float((np.abs(self.ratio - 1) <= WIDTH).mean())
        return usual == 1 if len(self.ratio) < MIN_ROWS else usual >= MIN_USUAL

    @property
    def name(self) -> str:
        """Return the word for the median step: "day"; "step" for one without a word, and for numbers."""
        named = ((word, days) for word, days in STEPS.items() if self.is_date)
        return next((word for word, days in named if abs(self.median / DAY / days - 1) < 1 / 8), "step")


def describe_irregularities(name: str, steps: Steps) -> list[str]:
    """Return notes on what is missing in the series of the column `name`, and on what comes twice."""
    step, is_date, before = steps.name, steps.is_date, steps.times[steps.before]
    n_missing = np.where(steps.ratio > 1 + WIDTH, np.maximum(1, np.round(steps.ratio) - 1), 0)
    notes = [f"'{name}' has no {' or '.join(steps.free)}: a step is a row, not a day"] if steps.free else []
    total, n_all = int(n_missing.sum()), len(steps.times) - len(steps.twice) + int(n_missing.sum())
    if total > PAUSES * n_all:
        first = _format(before[n_missing > 0][0], is_date)
        notes.append(f"'{name}' pauses {int((n_missing > 0).sum()):,} times, first after {first}: a step is a row")
    elif total:
        first, verb = _format(before[n_missing > 0][0], is_date), "is" if total == 1 else "are"
        notes.append(f"'{name}': {total:,} of {n_all:,} {step}s {verb} missing, the first after {first}")
    if n_twice := len(steps.twice):
        first, verb = _format(steps.times[steps.twice[0]], is_date), " comes" if n_twice == 1 else "s come"
        notes.append(f"'{name}': {n_twice:,} {step}{verb} twice, such as {first}: its first row counts")
    if (soon := steps.ratio < 1 - WIDTH).any():
        first = _format(before[soon][0], is_date)
        notes.append(f"'{name}': {int(soon.sum()):,} rows follow sooner than a {step}, the first after {first}")
    odd = np.concatenate([before[n_missing > 0], steps.times[steps.twice]])
    if is_date and steps.median < DAY and _is_clock_change(odd):
        notes[-1] += "; the clock changes there: times with a zone, 2024-10-27T02:00:00+01:00, keep every hour"
    return notes


def _is_clock_change(times: np.ndarray) -> bool:
    """Tell whether all of some times are in the first hours of a Sunday of spring or autumn."""
    days, clock = np.divmod(times, DAY)
    month = days.astype(np.int64).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    is_night = (days.astype(np.int64) + 3) % 7 == 6
    return bool(len(times) and (is_night & (clock <= DAY / 6) & np.isin(month, (3, 4, 9, 10, 11))).all())


def _format(time: float, is_date: bool) -> str:
    if not is_date:
        return f"{time:g}"
    return re.sub(r"(T00:00)?:00\.0+$", "", str(np.datetime64(int(time), "us")))
