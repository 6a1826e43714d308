"""`python -m benchmarks.soak.bulkheads`: single rows of one pipeline while others write texts and answer long bodies.

The phases take turns in one run, so that what else the machine does falls on all of them alike. Prints the 99% quantile
of the single rows as a multiple of that of quiet turns.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from typing import Any

from benchmarks import ray_project, sized
from benchmarks.serve import Server, find_example
from benchmarks.soak.clients import EVENTS
from benchmarks.soak.project import VERSIONS, SoakProject

TURNS, SECONDS, CLIENTS, PAUSE_S = sized((4, 5.0, 4, 0.02), (1, 0.5, 2, 0.02))
MAX_RATIO, WARM_S = 2.0, sized(8.0, 0.5)
Request = tuple[int, bytes]  # port, all that is sent
PHASES = {"quiet": (), "texts": ("texts",) * 2, "1,000 rows": ("bodies",), "both": ("texts", "texts", "bodies")}


async def ask(request: Request, stop: float, pause_s: float) -> list[float]:
    """Ask again and again, over a connection each; return the seconds that each took."""
    seconds = []
    while (start := time.perf_counter()) < stop:
        reader, writer = await asyncio.open_connection("127.0.0.1", request[0])
        writer.write(request[1])
        answer = await reader.read()
        writer.close()
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"refused: {answer[:300]!r}")
        seconds.append(time.perf_counter() - start)
        await asyncio.sleep(pause_s)
    return seconds


async def ask_many(requests: list[Request], stop: float, pause_s: float) -> list[list[float]]:
    return await asyncio.gather(*(ask(one, stop, pause_s) for one in requests))


def work(requests: list[Request], seconds: float) -> None:
    """Keep the endpoint busy, from a process of its own."""
    asyncio.run(ask_many(requests, time.perf_counter() + seconds, 0.2))


def build_requests(url: str) -> dict[str, Request]:
    """Build a request of each kind; a connection is closed behind it."""
    rows = {name: find_example(url, name) for name in ("rows", "song", "digits")}
    of = {"rows": rows["rows"], "texts": rows["song"], "bodies": {"rows": [rows["digits"]] * 1000}}
    names, built = {"rows": "rows", "texts": "song", "bodies": "digits"}, {}
    for kind, value in of.items():
        server = Server.of_url(url, f"/{names[kind]}/predict", value)
        head = b"\r\nConnection: close\r\n" + (f"Accept: {EVENTS['accept']}\r\n".encode() if kind == "texts" else b"")
        built[kind] = (server.port, server.request.replace(b"\r\n", head, 1))
    return built


async def measure(requests: dict[str, Request]) -> dict[str, list[float]]:
    """Return the seconds of single rows in each phase."""
    found: dict[str, list[float]] = {phase: [] for phase in PHASES}
    spawn = multiprocessing.get_context("spawn")
    await asyncio.to_thread(work, [requests[kind] for kind in PHASES["both"]], WARM_S)  # processes for texts start
    for _ in range(TURNS):
        for phase, kinds in PHASES.items():
            busy = spawn.Process(target=work, args=([requests[kind] for kind in kinds], SECONDS + 4))
            if kinds:
                busy.start()
                await asyncio.sleep(3)  # until it asks
            taken = await ask_many([requests["rows"]] * CLIENTS, time.perf_counter() + SECONDS, PAUSE_S)
            found[phase] += [one for some in taken for one in some]
            if kinds:
                await asyncio.to_thread(busy.join)
    return found


def quantile_ms(seconds: list[float], share: float) -> float:
    return sorted(seconds)[int(len(seconds) * share)] * 1000


async def run(root: Any) -> dict[str, list[float]]:
    project = SoakProject(root)
    try:
        url = await project.change(VERSIONS[0])
        return await measure(await asyncio.to_thread(build_requests, url))
    finally:
        project.close()


def main() -> int:
    with ray_project() as root:
        found = asyncio.run(run(root))
    print("| beside single rows | requests | p50 ms | p99 ms | ratio of p99 |\n|---|---:|---:|---:|---:|")
    quiet = quantile_ms(found["quiet"], 0.99)
    for phase, seconds in found.items():
        p50, p99 = (quantile_ms(seconds, share) for share in (0.5, 0.99))
        print(f"| {phase} | {len(seconds):,} | {p50:.1f} | {p99:.1f} | {p99 / quiet:.2f} |")
    return int(quantile_ms(found["both"], 0.99) > MAX_RATIO * quiet)


if __name__ == "__main__":
    raise SystemExit(main())
