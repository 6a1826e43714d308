"""Let versions beside the one in production answer some callers, or the same requests unseen.

The caller's id in the reserved field, else the name of its API key, else the request's id decides, so the same caller
gets the same version from each replica. What does not answer, for whatever reason, is answered by production.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.request_log import Entry
from evergreen.stages.deploy.server_events import is_wanted
from evergreen.stages.deploy.version_process import VersionProcess, VersionProcessError
from evergreen.stages.request_files import CANARY, PINNED, SHADOW

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.protocols import Call, Handler

MAX_SHADOWS = 32  # copies of requests under way; further ones are dropped
ID = re.compile(rb'"_id"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,}\]]+))')


class Rollout:
    """Hold the versions beside the one in production of a pipeline, and who is answered by which."""

    def __init__(self, name: str, facts: Mapping[str, Any], processes: Mapping[str, VersionProcess]) -> None:
        """Take {"version", "role", "share", "pins"} as the tags say (stages/engines/challengers.py), and processes."""
        self.name, self.facts, self.processes = name, facts, processes
        self.outcomes: Counter[tuple[str, str, str]] = Counter()  # version, role, outcome
        self.shadows: set[asyncio.Task[None]] = set()
        self.shadow_bytes = 0

    async def respond(self, endpoint: Endpoint, call: Call, handler: Handler) -> Response:
        """Answer a request by the version that its caller gets. Raises what the handler raises."""
        limits = endpoint.find(self.name).limits
        length = call.headers.get("content-length", "")
        is_whole = length.isdecimal() and int(length[:20]) <= limits["max_body_bytes"]
        if not is_whole or is_wanted(call.headers.get("accept", "")):  # a long table, a stream of events
            return await handler(endpoint, call)
        async with endpoint.bodies.read(call, limits) as held:
            body = bytes(held)
            version, role = self.choose(list_keys(call, body))
            start, problem = time.perf_counter(), ""
            if role in (CANARY, PINNED):
                try:
                    response = await self.processes[version].ask(call, body, role)
                    self.outcomes[version, role, "answered"] += 1
                    call.version, call.role = version, role
                    return response
                except VersionProcessError as error:
                    problem = str(error)
        call.replay(body)
        response = await handler(endpoint, call)
        if problem and response.status_code == 200:
            self._note_failure(endpoint, call, (version, role), problem, time.perf_counter() - start, len(body))
        elif role == SHADOW and not problem:
            self._offer(endpoint, call, version, body, limits["max_queue_bytes"])
        return response

    def choose(self, keys: list[str]) -> tuple[str, str]:
        """Return the version and the role in which a caller of these keys, the finest first, gets an answer.

        ("", "") is the one in production. While a canary answers some, it sees as many requests of others unseen.
        """
        pins, facts = self.facts["pins"], self.facts
        if pinned := next((pins[key] for key in keys if key in pins), ""):
            return (pinned, PINNED) if pinned in self.processes else ("", "")
        if facts["role"] in ("", SHADOW):
            return facts["version"], facts["role"]
        place = to_share(f"{self.name} {facts['version']} {keys[0]}")
        if place < facts["share"]:
            return facts["version"], CANARY
        return (facts["version"], SHADOW) if place >= 1 - facts["share"] else ("", "")

    def _offer(self, endpoint: Endpoint, call: Call, version: str, body: bytes, max_bytes: int) -> None:
        """Let the shadow answer a copy of a request, unless too many are under way: nothing waits for it."""
        if len(self.shadows) >= MAX_SHADOWS or self.shadow_bytes + len(body) > max_bytes:
            self.outcomes[version, SHADOW, "dropped"] += 1
            return
        task = asyncio.create_task(self._shadow(endpoint, call, version, body))
        self.shadows.add(task)
        self.shadow_bytes += len(body)
        task.add_done_callback(self.shadows.discard)

    async def _shadow(self, endpoint: Endpoint, call: Call, version: str, body: bytes) -> None:
        start = time.perf_counter()
        try:
            await self.processes[version].ask(call, body, SHADOW)
            self.outcomes[version, SHADOW, "answered"] += 1
        except VersionProcessError as error:
            if error.is_late:  # it has the time that is left
                self.outcomes[version, SHADOW, "dropped"] += 1
                return
            seconds = time.perf_counter() - start
            self._note_failure(endpoint, call, (version, SHADOW), str(error), seconds, len(body))
        finally:
            self.shadow_bytes -= len(body)

    def _note_failure(
        self, endpoint: Endpoint, call: Call, who: tuple[str, str], problem: str, seconds: float, n_bytes: int
    ) -> None:
        """Count that a version did not answer, and log it as a row of its own, whose answer is the problem."""
        import pyarrow as pa

        version, role = who
        self.outcomes[version, role, "failed"] += 1
        if endpoint.log:
            asked, answers = pa.table({"body_bytes": [n_bytes]}), Answers([[{"problem": problem}]])
            about = (call.request_id, call.caller.name, seconds, n_bytes, None, -1, role)
            endpoint.log.put(Entry(self.name, self.processes[version], asked, answers, *about))

    def describe(self) -> dict[str, Any]:
        """Return what /healthz shows: the challenger, and what is wrong with each version; "" where it answers."""
        problems = {version: one.problem for version, one in self.processes.items()}
        return {key: self.facts[key] for key in ("version", "role", "share")} | {"problems": problems}


def list_keys(call: Call, body: bytes) -> list[str]:
    """Return what names the caller, the finest first: the id in the first row, the API key's name, the request's id."""
    found = ID.search(body)
    own = (found[1] or found[2] or b"").decode(errors="replace") if found else ""
    return [key for key in (own, call.caller.name, call.request_id) if key]


def to_share(text: str) -> float:
    """Return a place between 0 and 1 for a text, always the same one."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48


async def update_rollouts(endpoint: Endpoint, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Start the processes that are new, let them answer, and end those that nobody wants any more."""
    old = [process for one in endpoint.rollouts.values() for process in one.processes.values()]
    rollouts, started = {}, []
    for name, facts in wanted.items():
        processes = {}
        for version, config in facts["processes"].items():
            kept = next((one for one in old if one.is_same(config) and not one.problem), None)
            processes[version] = kept or VersionProcess(config)
            started += [] if kept else [processes[version].start()]
        rollouts[name] = Rollout(name, facts, processes)
        if name in endpoint.rollouts:
            rollouts[name].outcomes = endpoint.rollouts[name].outcomes
    await asyncio.gather(*started)
    endpoint.rollouts = rollouts
    kept_processes = [process for one in rollouts.values() for process in one.processes.values()]
    await asyncio.gather(*(asyncio.to_thread(one.close) for one in old if one not in kept_processes))
