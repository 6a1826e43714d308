"""Run many trials on Ray's free cores, in workers that live as long as the race and hold trials in memory."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from evergreen.core import parts
from evergreen.core.errors import OutageError
from evergreen.core.progress import Progress
from evergreen.stages.trials.contender import ContenderState
from evergreen.stages.trials.folds import Fold
from evergreen.stages.trials.trial import Trial

SLACK_SECONDS = 0.5  # after the last allotted second: a step, a validation, an answer on its way
MIN_SECONDS = 0.1  # less is not worth starting a trial for
TURN_SECONDS = 1.5  # the least time for a first chunk: if time is short, fewer get a turn
MAX_DEATHS = 3  # of its process, after which the contender itself is to blame
MIN_CONTENDERS = 3  # contenders, however short the time is
FIRST_SHARE = 0.4  # of the race's time, for the first rung: there everything is built


class TrialWorker:
    """Make trials, keep them, and continue training each on request."""

    def __init__(self, common: tuple[str, str, str], first: str, own_parts: Mapping[str, str]) -> None:
        self.common, self.first = common, first
        parts.adopt(own_parts)
        self.trials: dict[tuple[str, int], Any] = {}

    def ready(self) -> bool:
        """Import, read rows and take a first step, so that no trial pays for what all need."""
        ready, version, task = self.common
        Trial(Path(ready), version, task, self.first, {}).advance(1, MIN_SECONDS)
        return True

    def advance(self, name: str, seed: int, chunks: int, seconds: float, fold: Fold | None = None) -> dict[str, Any]:
        """Train a trial on to so many `chunks`, or anew by a full run where that is 0; report a failure as a reason."""
        started = time.monotonic()
        ready, version, task = self.common
        try:
            trial = self.trials.get((name, seed)) if chunks else None
            if trial is None:
                trial = Trial(Path(ready), version, task, name, {}, seed, in_one_go=not chunks, fold=fold)
            if chunks:
                self.trials[name, seed] = trial
            score = trial.advance(
                chunks * trial.epochs_per_chunk or trial.epochs, seconds - (time.monotonic() - started)
            )
        except (ValueError, ArithmeticError, RuntimeError) as error:  # one that cannot train does not end the race
            return {"reason": f"it failed: {error}", "failed": True}
        if not chunks and not trial.loop.is_finished:
            return {"reason": "no time for another seed"}
        return {
            "score": score,
            "parameters": trial.parameters,
            "error": trial.standard_error(),
            "rows": trial.row_scores(),
            "predict_ms": trial.predict_ms,
            "epochs": trial.epochs,
        }


class Race:
    """Hold workers for the `with` block; no answer is waited for after `deadline` (monotonic)."""

    def __init__(self, common: tuple[str, str, str], first: str, deadline: float, progress: Progress) -> None:
        self.common, self.first, self.deadline, self.progress = common, first, deadline, progress
        self.workers: list[Any] = []

    def __enter__(self) -> Self:
        import ray

        from evergreen.stages.engines import ray_cluster

        self.workers = [self._start_worker() for _ in range(ray_cluster.cpus())]
        left = max(0.0, self.deadline - SLACK_SECONDS - time.monotonic())
        calls = [worker.ready.remote() for worker in self.workers]
        done, _ = ray.wait(calls, num_returns=len(calls), timeout=left)
        self.workers = [worker for worker, call in zip(self.workers, calls, strict=True) if call in done]
        return self

    def _start_worker(self) -> Any:
        import ray

        return ray.remote(num_cpus=1, max_restarts=0)(TrialWorker).remote(
            self.common, self.first, parts.project_texts()
        )

    def __exit__(self, *_: object) -> None:
        import ray

        for worker in self.workers:
            ray.kill(worker)

    def has_time(self, until: float) -> bool:
        """Tell whether another heat can show anything until `until`."""
        return bool(self.workers) and until - time.monotonic() > TURN_SECONDS

    def max_contenders(self, until: float) -> int:
        """Return how many contenders there is time for until `until`."""
        return max(MIN_CONTENDERS, int(FIRST_SHARE * (until - time.monotonic()) * len(self.workers) / TURN_SECONDS))

    def advance(
        self, contenders: list[ContenderState], rung: int, chunks: int, *, until: float, rungs_left: int
    ) -> list[ContenderState]:
        """Train each contender's trial on to so many `chunks`, within its share of the time until `until`.

        Contenders start in the order given; those that got no turn in time are not returned.
        """
        left = min(until, self.deadline - SLACK_SECONDS) - time.monotonic()
        left *= FIRST_SHARE if rung == 1 and rungs_left > 1 else 1 / rungs_left
        if not self.workers or left < MIN_SECONDS:
            return []
        each = max(left * len(self.workers) / max(1, len(contenders)), MIN_SECONDS)

        def keep(contender: ContenderState, answer: dict[str, Any]) -> None:
            if "reason" in answer:
                contender.reason, contender.score, contender.scores, contender.rows = answer["reason"], None, [], []
                contender.failed = "failed" in answer
                return
            contender.record(answer)
            contender.rung, contender.scores, contender.rows = rung, [answer["score"].value], [answer["rows"]]

        jobs = [(contender, contender.seed, chunks, each, None) for contender in contenders]
        for contender in self._schedule(jobs, keep, f"{chunks} chunks", time.monotonic() + left):
            if not contender.scores:
                contender.reason = "the time ran out before its turn"
        return [contender for contender in contenders if contender.rung == rung and contender.score]

    def run_finals(self, contenders: list[ContenderState], seeds: int, folds: int = 0) -> None:
        """Train each contender in full, with as many seeds or folds as there is time for.

        These scores replace those of the race.
        """
        for extra in range(folds or seeds):
            left = self.deadline - SLACK_SECONDS - time.monotonic()
            needed = sum(contender.full_run_seconds for contender in contenders) / max(1, len(self.workers))
            longest = max((contender.full_run_seconds for contender in contenders), default=math.inf)
            if left < 1.2 * max(needed, longest) + MIN_SECONDS:
                return
            answers: dict[str, dict[str, Any]] = {}

            def keep(
                contender: ContenderState, answer: dict[str, Any], answers: dict[str, dict[str, Any]] = answers
            ) -> None:
                if "reason" not in answer:
                    answers[contender.name] = answer

            for contender in contenders:
                contender.worker = None
            fold = (extra, folds) if folds else None
            jobs = [(contender, contender.seed + (0 if folds else extra), 0, left, fold) for contender in contenders]
            self._schedule(jobs, keep, f"finals, {'fold' if folds else 'seed'} {extra + 1}")
            if len(answers) < len(contenders):  # means over different numbers of seeds do not compare
                return
            for contender in contenders:
                contender.add_final_score(answers[contender.name], fold)

    def _schedule(
        self,
        jobs: list[Any],
        keep: Callable[[ContenderState, dict[str, Any]], None],
        what: str,
        until: float = math.inf,
    ) -> list[ContenderState]:
        """Give each free worker its next job; return the contenders whose job was not started by `until`.

        A trial goes on where it is held, a new one anywhere. One whose process died is trained again from its start.
        """
        import ray

        waiting, late = list(jobs), []
        running: dict[Any, tuple[int, Any]] = {}
        while (waiting or running) and time.monotonic() < self.deadline - SLACK_SECONDS / 2:
            if time.monotonic() >= until:
                late += [job[0] for job in waiting]
                waiting = []
            free = set(range(len(self.workers))) - {worker for worker, _ in running.values()}
            for worker in free:
                job = next((one for one in waiting if one[0].worker in (None, worker)), None)
                if job:
                    waiting.remove(job)
                    contender, seed, chunks, seconds, fold = job
                    contender.worker = worker
                    seconds = min(seconds, self.deadline - SLACK_SECONDS - time.monotonic())
                    call = self.workers[worker].advance.remote(contender.name, seed, chunks, seconds, fold)
                    running[call] = (worker, job)
            left = self.deadline - SLACK_SECONDS / 2 - time.monotonic()
            done, _ = ray.wait(list(running), num_returns=1, timeout=max(0.0, min(left, 0.5))) if running else ([], [])
            for call in done:
                worker, job = running.pop(call)
                try:
                    keep(job[0], ray.get(call))
                except ray.exceptions.RayActorError:
                    self.workers[worker] = self._start_worker()
                    job[0].deaths += 1
                    if job[0].deaths < MAX_DEATHS:
                        waiting.insert(0, job)
                    else:
                        keep(job[0], {"reason": f"its process died {MAX_DEATHS} times", "failed": True})
            self.progress(stage="select", doing=what, seconds_left=max(0.0, self.deadline - time.monotonic()))
        late += [job[0] for job in waiting]
        if any(contender.deaths for contender in [*late, *(job[0] for _, job in running.values())]):
            raise OutageError("a process that trained died, and no time was left to train again")
        for _, (contender, *_) in running.values():
            contender.reason = contender.reason if contender.scores else "the time ran out within one step"
        return late
