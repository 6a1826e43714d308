"""Run many trials on Ray's free cores, in workers that live as long as the race and hold trials in memory.

What a trial is and how long it trains is settled before; the clock only cuts a race off. What was done until then
stands in a ledger, so the next race of the same rows goes on from there.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from evergreen.core import parts
from evergreen.core.errors import OutageError
from evergreen.core.progress import Progress
from evergreen.stages.trials.contender import ContenderState
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.trials.trial import Score
from evergreen.stages.trials.trial_worker import Answer, TrialWorker

SLACK_SECONDS = 0.5  # after the last allotted second: a step, a validation, an answer on its way
MAX_DEATHS = 3  # of its process, after which the contender itself is to blame


@dataclass(frozen=True)
class Job:
    """Say which trial to train, and how far."""

    contender: ContenderState
    seed: int
    steps: int  # updates in all; 0 trains by the whole configuration
    fold: int | None = None  # of the contender's plan, which one
    steps_before: int = 0  # updates that the trial has done already

    def key(self) -> dict[str, Any]:
        """Return what names the job in the ledger."""
        one = self.contender
        key = {"architecture": one.name, "code": one.code, "seed": self.seed, "steps": self.steps, "fold": self.fold}
        return key | ({"options": one.options} if one.options else {})

    @property
    def work(self) -> float:
        """Nominal seconds that the job takes; 0 where nothing was counted yet."""
        work = self.contender.work
        if work is None:
            return 0.0
        if self.fold is not None:
            return self.contender.fold_work
        return (self.steps - self.steps_before) * work.epoch / self.contender.steps if self.steps else work.full


class Race:
    """Hold workers for the `with` block; no answer is waited for after `deadline` (monotonic)."""

    def __init__(self, common: tuple[str, str, str], ledger: Ledger, deadline: float, progress: Progress) -> None:
        self.common, self.ledger, self.deadline, self.progress = common, ledger, deadline, progress
        self.known = {entry["key"]: entry for entry in ledger.entries()}
        self.workers: list[Any] = []
        self.starting: dict[Any, int] = {}  # answer that is awaited → place of a worker that gets no work before it
        self.falls: Counter[int] = Counter()  # of a worker's process before it was ready
        self.unready: dict[int, str] = {}  # place of a worker that gets none at all → why
        self.is_cut = False  # True where the clock ended it before its plan did
        self.planned = self.done = self.trained = 0.0  # nominal seconds; `trained` is what was done in this race
        self.began = 0.0  # when the first trial began to train

    def __enter__(self) -> Self:
        from evergreen.stages.engines import ray_cluster

        for place in range(ray_cluster.cpus()):
            self.workers.append(None)
            self._start_worker(place)
        return self

    def _start_worker(self, place: int) -> None:
        import ray

        actor = ray.remote(num_cpus=1, max_restarts=0)(TrialWorker)
        self.workers[place] = actor.remote(self.common, parts.project_texts())
        self.starting[self.workers[place].get_ready.remote()] = place

    def _hear_of_workers(self, seconds: float) -> None:
        """Note which workers got ready. Raises OutageError where none did, and none will."""
        import ray

        for answered in ray.wait(list(self.starting), num_returns=1, timeout=seconds)[0] if self.starting else ():
            place = self.starting.pop(answered)
            try:
                ray.get(answered)
            except ray.exceptions.RayActorError:
                self.falls[place] += 1
                if self.falls[place] < MAX_DEATHS:
                    self._start_worker(place)  # elsewhere, where its machine is gone
                else:
                    self.unready[place] = f"its process died {MAX_DEATHS} times"
            except ray.exceptions.RayTaskError as error:
                self.unready[place] = f"it cannot read the prepared data: {error.cause}"
        if len(self.unready) == len(self.workers):
            fix = "evergreen preflight NAME tells which machine does not reach the `storage` of cluster.yaml"
            raise OutageError(f"no worker got ready ({self.unready[0]})", place="cluster", fix=fix)

    def __exit__(self, *_: object) -> None:
        import ray

        for worker in self.workers:
            ray.kill(worker)

    @property
    def note(self) -> str:
        """Say how many workers got no work, and why the first of them did not, or nothing."""
        if not self.unready:
            return ""
        why = self.unready[min(self.unready)]
        return f"; {len(self.unready)} of {len(self.workers)} workers got no work ({why})"

    @property
    def seconds_left(self) -> float:
        """Seconds that what is planned takes at the speed so far, or at the nominal one before anything was trained."""
        pace = (time.monotonic() - self.began) / self.trained if self.trained else 1 / max(1, len(self.workers))
        return max(0.0, self.planned - self.done) * pace

    def measure(self, contenders: Sequence[ContenderState]) -> None:
        """Count the work of each contender; one that cannot be built has failed."""

        def call(worker: Any, job: Job) -> Any:
            return worker.measure.remote(job.contender.name, job.seed, job.contender.options)

        def keep(job: Job, answer: Answer) -> None:
            self._remember(key(job), answer)
            job.contender.measured(answer)

        def key(job: Job) -> dict[str, Any]:
            return {**job.key(), "steps": "counted"}

        self._ask([Job(one, one.seed, 0) for one in contenders], key, call, keep, "counting the work")

    def run(self, jobs: Sequence[Job], what: str) -> dict[Job, Answer]:
        """Do the jobs, at most one of each trial that goes on; return what each answered."""
        answers: dict[Job, Answer] = {}

        def call(worker: Any, job: Job) -> Any:
            left = self.deadline - SLACK_SECONDS - time.monotonic()
            if job.fold is not None and job.contender.plan:
                return worker.train_fold.remote(asdict(job.contender.plan), job.fold, left)
            return worker.advance.remote(job.contender.name, job.seed, job.steps, left, job.contender.options)

        def keep(job: Job, answer: Answer) -> None:
            if "reason" in answer and "failed" not in answer:
                self.is_cut = True
                return
            if self.ledger.key(job.key()) not in self.known:
                self.trained += job.work
            self._remember(job.key(), answer)
            answers[job] = answer
            self.done += job.work

        self.began = self.began or time.monotonic()
        self._ask(jobs, Job.key, call, keep, what)
        scored = {job: dict(answer) for job, answer in answers.items()}
        for answer in scored.values():
            if "score" in answer:
                answer["score"] = Score(**answer["score"])
        return scored

    def _remember(self, key: Mapping[str, Any], answer: Answer) -> None:
        """Add an answer to the ledger; a failure is tried again, for it may be the machine's.

        What folds have answered is stored by them.
        """
        if "reason" not in answer and key.get("fold") is None and self.ledger.key(key) not in self.known:
            self.ledger.add(key, {"answer": answer})

    def _ask(
        self,
        jobs: Sequence[Job],
        key: Callable[[Job], dict[str, Any]],
        call: Callable[[Any, Job], Any],
        keep: Callable[[Job, Answer], None],
        what: str,
    ) -> None:
        """Take what the ledger knows from there, and have workers do the rest."""
        entries = [(job, self.known.get(self.ledger.key(key(job)))) for job in jobs]
        for job, entry in entries:
            if entry:
                keep(job, entry["answer"])
        self._schedule([job for job, entry in entries if not entry], call, keep, what)

    def _schedule(
        self,
        jobs: Sequence[Job],
        call: Callable[[Any, Job], Any],
        keep: Callable[[Job, Answer], None],
        what: str,
    ) -> None:
        """Give each free worker its next job, until all are done or the clock ends it.

        A trial goes on where it is held, a new one anywhere. One whose process died is trained again from its start.
        """
        import ray

        waiting, total = list(jobs), len(jobs)
        running: dict[Any, tuple[int, Job]] = {}
        while (waiting or running) and time.monotonic() < self.deadline - SLACK_SECONDS / 2:
            self._hear_of_workers(0.0 if running else 0.5)
            busy = {worker for worker, _ in running.values()} | set(self.starting.values()) | set(self.unready)
            for worker in set(range(len(self.workers))) - busy:
                free = (None, worker, *self.unready)
                job = next((one for one in waiting if not one.steps or one.contender.worker in free), None)
                if job and time.monotonic() < self.deadline - SLACK_SECONDS:
                    waiting.remove(job)
                    if job.steps:
                        job.contender.worker = worker
                    running[call(self.workers[worker], job)] = (worker, job)
            left = self.deadline - SLACK_SECONDS / 2 - time.monotonic()
            done, _ = ray.wait(list(running), num_returns=1, timeout=max(0.0, min(left, 0.5))) if running else ([], [])
            for answered in done:
                worker, job = running.pop(answered)
                try:
                    keep(job, ray.get(answered))
                except ray.exceptions.RayActorError:
                    self._start_worker(worker)  # what the other held is trained again where needed
                    job.contender.deaths += 1
                    if job.contender.deaths < MAX_DEATHS:
                        waiting.insert(0, job)
                    else:
                        keep(job, {"reason": f"its process died {MAX_DEATHS} times", "failed": True})
            left = self.seconds_left
            told = {"seconds_left": left} if left < self.deadline - time.monotonic() else {}
            self.progress(stage="select", doing=f"{what}, {total - len(waiting) - len(running)} of {total}", **told)
        unfinished = [*waiting, *(job for _, job in running.values())]
        if any(job.contender.deaths for job in unfinished):
            raise OutageError("a process that trained died, and no time was left to train again")
        self.is_cut = self.is_cut or bool(unfinished)
