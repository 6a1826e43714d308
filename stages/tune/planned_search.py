"""Open the search that a pipeline asks for: what is searched, how long, and what the ledger knows of it already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evergreen.core.files import read_json
from evergreen.stages.artifacts import folder_version
from evergreen.stages.code_version import learned_code_version
from evergreen.stages.trials import search_plan
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.trials.proposals import Finished
from evergreen.stages.trials.samplers import check_sampler
from evergreen.stages.trials.space import Search

if TYPE_CHECKING:
    from evergreen.core.paths import Paths
    from evergreen.stages.tune.config import TuneConfig


@dataclass(frozen=True)
class PlannedSearch:
    """Hold a search with its ledger and its size."""

    search: Search
    context: dict[str, Any]
    ledger: Ledger
    trials: int  # 0 where there is no search
    cap_seconds: float  # after which it is cut off where the YAML sets no limit
    unknown: tuple[str, ...]  # names in `space` that the architecture does not have

    def finished(self) -> Finished:
        """Read what the ledger knows."""
        return Finished(self.ledger.entries())

    def is_done(self, done: Finished) -> bool:
        """Tell whether nothing is left to do."""
        return len(done.trials) >= self.trials and not done.pending_repeats(self.search, self.trials)


def open_search(config: TuneConfig, paths: Paths, task: str) -> PlannedSearch:
    """Open the search for the options of the architecture that select chose. Raises PipelineError."""
    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.trials.trial import deciding_metric, search_defaults

    selected = read_json(paths.select)
    architecture = selected["architecture"]
    board = {one["architecture"]: one for one in selected.get("leaderboard", [])}
    entry: dict[str, Any] = {"architecture": architecture, **board.get(architecture, {})}
    own, version = search_defaults(architecture, config.space or None), folder_version(paths.ready)
    chosen = selected.get("options", {})
    own |= {name: value for name, value in chosen.items() if name in own}
    is_wanted = bool(own and config.planned_effort)
    plan = search_plan.plan(config, paths, version, task, entry) if is_wanted else None
    if plan and plan.trials:
        check_sampler(config.sampler)
    search = Search(
        ready=str(paths.ready),
        version=version,
        task=task,
        architecture=architecture,
        defaults=own,
        metric=deciding_metric(paths.ready),
        seed=config.seed,
        chunks=plan.chunks if plan else search_plan.CHUNKS[0],
        sampler=config.sampler,
        scheduler=config.scheduler,
        space={name: choice for name, choice in config.space.items() if name in own},
        objective=config.counted,
        constraints=config.constraints,
        repeats=config.repeats,
        error=entry.get("standard_error") or 0.0,
        selected=chosen,
    )
    code = learned_code_version("tune", FeatureSpec.load(paths.ready).to_json(), task, architecture)
    context = {**search.context(), "code": code}
    size = (plan.trials, plan.cap_seconds) if plan else (0, 0.0)
    unknown = tuple(name for name in config.space if name not in own)
    return PlannedSearch(search, context, Ledger(paths.trials, context), *size, unknown)
