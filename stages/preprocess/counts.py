"""Count rows while they are prepared, shard by shard, and sum the counts in any order."""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.data.prepare.infer import Schema
from evergreen.data.prepare.prepared_rows import PreparedRows
from evergreen.data.quality import profile
from evergreen.data.quality.profile import ColumnProfile

REASONS = 1_000  # distinct reasons that are counted: a file may have another error in every row
OTHERS = "other reasons"
BY_SPLIT = ("classes", "nulls")


@dataclass
class ShardCounts:
    """Count the rows of a shard by split, class, missing value and reason."""

    raw: int = 0  # rows that were read
    left: int = 0  # rows that `filter` leaves out
    rows: Counter[str] = field(default_factory=Counter)  # split → rows
    classes: dict[str, Counter[str]] = field(default_factory=dict)  # split → class → rows
    nulls: dict[str, Counter[str]] = field(default_factory=dict)  # split → column → missing values
    bad: Counter[str] = field(default_factory=Counter)  # reason → rows that are bad
    aside: Counter[str] = field(default_factory=Counter)  # reason → valid rows that belong to no split
    notes: list[str] = field(default_factory=list)
    cuts: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, ColumnProfile] = field(default_factory=dict)  # column → what it held

    def add(self, rows: PreparedRows, schema: Schema) -> None:
        """Count prepared rows; `add_part` counts what goes into which split."""
        self.seen = profile.merge_profiles(
            [one for one in (self.seen, profile.profile_columns(rows.table, schema.kinds)) if one]
        )
        self.raw += len(rows.table) + len(rows.quarantine)
        self.left += rows.left
        reasons = rows.quarantine.column("reason").to_pylist()
        self.bad.update(reasons[: rows.bad])
        self.aside.update(reasons[rows.bad :])
        self.notes += rows.notes
        self.cuts |= rows.cuts

    def add_part(self, split: str, part: pa.Table, target: str) -> None:
        """Count the rows, missing values and classes of one split."""
        self.rows[split] += len(part)
        nulls = {name: part.column(name).null_count for name in part.column_names}
        self.nulls.setdefault(split, Counter()).update({name: count for name, count in nulls.items() if count})
        if target:
            counts = pc.value_counts(part.column(target))
            words, rows = counts.field("values").to_pylist(), counts.field("counts").to_pylist()
            self.classes.setdefault(split, Counter()).update(dict(zip(words, rows, strict=True)))

    def quarantined(self) -> dict[str, int]:
        """Return reason → quarantined rows, the most common first."""
        return dict((self.bad + self.aside).most_common())

    def to_json(self) -> dict[str, Any]:
        """Return the counts as a finished shard stores them."""
        profiles = {name: dataclasses.asdict(one) for name, one in self.seen.items()}
        return {**vars(self), "bad": _short(self.bad), "aside": _short(self.aside), "seen": profiles}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Return the counts that `to_json` stored."""

        def by_split(name: str) -> dict[str, Counter[str]]:
            return {split: Counter(counts) for split, counts in value[name].items()}

        return cls(
            raw=value["raw"],
            left=value["left"],
            rows=Counter(value["rows"]),
            classes=by_split("classes"),
            nulls=by_split("nulls"),
            bad=Counter(value["bad"]),
            aside=Counter(value["aside"]),
            notes=value["notes"],
            cuts=value["cuts"],
            seen={name: ColumnProfile(**one) for name, one in value["seen"].items()},
        )

    @classmethod
    def summed(cls, tallies: Iterable[Self]) -> Self:
        """Sum the counts of shards."""
        total = cls()
        for shard_counts in tallies:
            total.seen = profile.merge_profiles([held for held in (total.seen, shard_counts.seen) if held])
            total.raw += shard_counts.raw
            total.left += shard_counts.left
            total.rows += shard_counts.rows
            total.bad, total.aside = _short(total.bad + shard_counts.bad), _short(total.aside + shard_counts.aside)
            total.notes = list(dict.fromkeys([*total.notes, *shard_counts.notes]))
            total.cuts |= shard_counts.cuts
            for name in BY_SPLIT:
                total_count = getattr(total, name)
                for split, counts in getattr(shard_counts, name).items():
                    total_count.setdefault(split, Counter()).update(counts)
        return total


def _short(reasons: Counter[str]) -> Counter[str]:
    if len(reasons) <= REASONS:
        return reasons
    shown = Counter(dict(reasons.most_common(REASONS)))
    shown[OTHERS] += reasons.total() - shown.total()
    return shown
