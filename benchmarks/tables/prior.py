"""Which architectures won on like tables, and would knowing it have helped? `python -m benchmarks.tables.prior`.

The order is made from the races of the seen half alone, by number of rows, and judged on the unseen half: how often the
one that was chosen there is among its first. What the architectures say themselves (FIRST_FOR) is judged beside it. A
prior is shipped when it wins on tables that it was not made with, and not before.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from benchmarks.tables.__main__ import RESULTS
from benchmarks.tables.sources import SOURCES
from evergreen.models.registry import is_tried_first

ROWS = (1_000, 5_000)  # at which the groups part
FIRST = 3  # of an order, among which the chosen one is looked for
KINDS = {"number", "category"}


def group(row: Mapping[str, Any]) -> str:
    """Return the group of like tables."""
    below = next((bound for bound in ROWS if row["rows"] < bound), None)
    return f"fewer than {below:,} rows" if below else f"{ROWS[-1]:,} rows and more"


def orders(rows: list[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the architectures of each group, by their mean place in its races, the best first; "" is of all groups."""
    places: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for place, entry in enumerate(row["board"]):
            for name in ("", group(row)):
                places[name][entry["architecture"]].append(place / len(row["board"]))
    return {name: sorted(found, key=lambda one: statistics.fmean(found[one])) for name, found in places.items()}


def main() -> int:
    rows = list(json.loads(RESULTS.read_text()).values())
    made = orders([row for row in rows if SOURCES[row["table"]].is_seen])
    for name, order in made.items():
        print(f"{name or 'all'}: {', '.join(order)}")
    judged = [row for row in rows if not SOURCES[row["table"]].is_seen]
    hits, own = 0, 0
    for row in judged:
        hits += row["architecture"] in made.get(group(row), made[""])[:FIRST]
        own += is_tried_first(row["architecture"], KINDS)
    print(
        f"on {len(judged)} unseen rows the chosen one is among its first {FIRST} in {hits}, tried first anyway in {own}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
