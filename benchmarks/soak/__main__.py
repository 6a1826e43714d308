"""`make soak`: holds load of all kinds on an endpoint for MINUTES, while versions change and replicas die.

What becomes of it is written to SOAK.md. SMALL=1 shows in seconds that it runs, and writes nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import SMALL, ray_project, sized
from benchmarks.__main__ import machine
from benchmarks.serve import find_example
from benchmarks.soak.clients import Load
from benchmarks.soak.project import VERSIONS, SoakProject
from evergreen.core.files import write_text

MINUTES = float(os.environ.get("MINUTES", sized(30, 0.2)))
QUIET_S, SWAPS, GAP_S, N_ROWS = sized((30.0, 20, 8.0, 20_000), (1.0, 2, 0.5, 2_000))
SAMPLE_S = 5.0
RESULTS = Path(__file__).parents[1] / "SOAK.md"
MIN_MINUTES = 10
MAX_GROWTH = 1.1  # of a replica's memory, from the second quarter of the time to the last
MAX_SWAP_RATIO, MAX_BULKHEAD_RATIO = 1.5, 2.0
HEAD = """# An endpoint for {minutes:.0f} minutes under load of all kinds

Written by `make soak` on: {machine}.
Two replicas serve three pipelines behind HAProxy. A request fails where it is valid and not answered, or not as its
version answered before. What cannot be asked again where a replica is killed, long bodies and answers that had begun,
is counted apart. Before it began the load average was {waiting:.1f}. Above 1 other work ran beside it, and times and
their ratios tell of that work as well: those of bulkheads are `python -m benchmarks.soak.bulkheads`'s to measure.

{tables}
"""


@dataclass
class Soak:
    """What a run has found so far."""

    project: SoakProject
    load: Load
    happened: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)  # minutes, by kind
    ratios: dict[str, tuple[float, float]] = field(default_factory=dict)  # name → p99 before, p99 then
    start: float = field(default_factory=time.monotonic)
    full_from: float = 0.0  # the minute from which all clients ask

    async def watch(self) -> None:
        while True:
            self.memory.append(((time.monotonic() - self.start) / 60, self.project.memory_mb()))
            await asyncio.sleep(SAMPLE_S)

    async def compare(
        self, name: str, kind: str, quiet: Coroutine[Any, Any, Any], busy: Coroutine[Any, Any, Any]
    ) -> None:
        """Take the 99% quantile of a kind of request during two phases."""
        tally, found = self.load.tallies[kind], []
        for phase in (quiet, busy):
            first = len(tally.seconds)
            await phase
            found.append(tally.quantile_ms(0.99, first))
        self.ratios[name] = (found[0], found[1])

    async def swap(self) -> None:
        """Let versions follow each other as fast as they can."""
        for number in range(SWAPS):
            await self.project.change(VERSIONS[(number + 1) % len(VERSIONS)])
            self.happened["swap under single rows"] += 1

    async def change_until(self, end: float) -> None:
        """Let everything happen in turn."""
        project, happened = self.project, self.happened

        def other() -> str:
            return VERSIONS[(VERSIONS.index(project.version) + 1) % len(VERSIONS)]

        async def kill() -> None:
            self.load.last_kill = time.monotonic()
            project.kill_replica()

        async def abort() -> None:
            await project.change(project.version)

        steps: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "upgrade": lambda: project.change(other()),
            "canary of a third": lambda: project.change(project.version, "canary", other()),
            "canary promoted": lambda: project.change(other()),
            "replica killed": kill,
            "rollback": lambda: project.change(VERSIONS[0]),
            "canary that breaks": lambda: project.change(project.version, "canary", "faulty"),
            "replica killed beside a canary": kill,
            "canary aborted": abort,
            "shadow that breaks": lambda: project.change(project.version, "shadow", "faulty", 0.0),
            "shadow ended": abort,
        }
        while time.monotonic() < end:
            for name, step in steps.items():
                if time.monotonic() >= end:
                    break
                await project.wait_for_replicas()
                await step()
                happened[name] += 1
                await asyncio.sleep(GAP_S)

    def problems(self) -> list[str]:
        """What should not have been; a short run does not tell of memory and time."""
        found = [f"{len(one.failures)} of {kind}" for kind, one in self.load.tallies.items() if one.failures]
        limits = {"swaps": MAX_SWAP_RATIO, "bulkheads": MAX_BULKHEAD_RATIO}
        if MINUTES < MIN_MINUTES:
            return found
        found += [f"p99 of {name}" for name, (quiet, busy) in self.ratios.items() if busy > limits[name] * quiet]
        return found + ([f"memory grew to {self.growth():.2f} times"] if self.growth() > MAX_GROWTH else [])

    def growth(self) -> float:
        """The memory of the largest replica in the last quarter of full load, as a multiple of the second quarter's."""
        sizes = [one["replicas"] for minute, one in self.memory if minute >= self.full_from] or [1.0]
        quarter = max(1, len(sizes) // 4)
        return fmean(sizes[-quarter:]) / fmean(sizes[quarter : 2 * quarter] or sizes)

    def tables(self) -> str:
        lines = [
            "| clients | requests | failed | cut off by a kill | p50 ms | p99 ms |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for kind, one in sorted(self.load.tallies.items()):
            count = len(one.seconds) + len(one.failures) + one.n_cut
            times = " | ".join(f"{one.quantile_ms(share):.1f}" for share in (0.5, 0.99))
            lines.append(f"| {kind} | {count:,} | {len(one.failures)} | {one.n_cut} | {times} |")
        lines += ["", "| what happened | times |", "|---|---:|", *(f"| {k} | {n} |" for k, n in self.happened.items())]
        lines += ["", "| p99 of single rows, ms | before | then | ratio |", "|---|---:|---:|---:|"]
        for name, (quiet, busy) in self.ratios.items():
            lines.append(f"| {name} | {quiet:.1f} | {busy:.1f} | {busy / quiet if quiet else 0:.2f} |")
        kinds = [*self.memory[0][1]]
        lines += [
            "",
            "| minute | " + " | ".join(f"{kind}, MiB" for kind in kinds) + " |",
            "|---:|" + "---:|" * len(kinds),
        ]
        for minute, sizes in self.memory[:: max(1, len(self.memory) // 15)]:
            lines.append(f"| {minute:.1f} | " + " | ".join(f"{sizes[kind]:,.0f}" for kind in kinds) + " |")
        lines += [
            "",
            f"Of the replicas the largest one; from the second quarter to the last: {self.growth():.2f} times.",
        ]
        failures = [f"- {kind}: {text}" for kind, one in self.load.tallies.items() for text in one.failures[:5]]
        return "\n".join(lines + (["", "Failures:", "", *failures] if failures else []))


async def run(root: Path) -> Soak:
    """Take the phases one after another: quiet, swaps, slow work beside, everything at once."""
    project = SoakProject(root)
    url = await project.change(VERSIONS[0])
    rows = {name: await asyncio.to_thread(find_example, url, name) for name in ("digits", "rows", "song")}
    table = project.table.take([number % len(project.table) for number in range(N_ROWS)])
    soak = Soak(project, load := Load(url, rows, table))
    watching = asyncio.create_task(soak.watch())
    try:
        load.start(*[load.single_rows] * 4)
        await soak.compare("swaps", "single rows of digits", asyncio.sleep(QUIET_S), soak.swap())
        await load.stop()
        load.start(*[lambda: load.single_rows("rows")] * 4)

        async def work_beside() -> None:
            load.start(load.texts, load.texts, load.long_bodies)
            await asyncio.sleep(QUIET_S)

        await soak.compare("bulkheads", "single rows of rows", asyncio.sleep(QUIET_S), work_beside())
        load.start(*[load.single_rows] * 4, load.tables, load.hostile, load.slow)
        soak.full_from = (time.monotonic() - soak.start) / 60
        await soak.change_until(soak.start + 60 * MINUTES)
        await load.stop()
    finally:
        watching.cancel()
        project.close()
    return soak


def main() -> int:
    waiting = os.getloadavg()[1]
    with ray_project() as root:
        soak = asyncio.run(run(root))
    print(tables := soak.tables())
    problems = soak.problems()
    print("\n".join(problems), file=sys.stderr)
    if not SMALL and MINUTES >= MIN_MINUTES:
        write_text(RESULTS, HEAD.format(minutes=MINUTES, machine=machine(), waiting=waiting, tables=tables))
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())
