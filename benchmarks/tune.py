"""Seconds per trial of the tune stage against a bare Optuna loop: same points, same trials, one after another.

Both train the default network whole, without early stopping, on one core: what differs is what Ray Tune costs.
"""

import statistics
import time
from pathlib import Path

from benchmarks import ray_project, sized
from evergreen.core.paths import Paths
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.stages.artifacts import folder_version
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.engines import ray_cluster
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.trials import search
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.trials.search_plan import CHUNKS
from evergreen.stages.trials.space import Search, distribution
from evergreen.stages.trials.trial import Trial, deciding_metric, search_defaults

ARCHITECTURE, TASK = "mlp", "classification"
REPEATS, TRIALS = sized((3, 8), (1, 2))


def bare(wanted: Search, seed: int) -> float:
    """Seconds per trial of Optuna's own loop in this process."""
    import optuna

    from evergreen.models.registry import find_architecture

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {name: distribution(choice) for name, choice in find_architecture(ARCHITECTURE).SEARCH_SPACE.items()}
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    start = time.perf_counter()
    for _ in range(TRIALS):
        point = study.ask(space)
        trial = Trial(Path(wanted.ready), wanted.version, TASK, ARCHITECTURE, point.params, wanted.seed)
        study.tell(point, trial.advance(wanted.chunks * trial.chunk, 600).value)
    return (time.perf_counter() - start) / TRIALS


def under_ray(wanted: Search, seed: int, folder: Path) -> tuple[float, float]:
    """Seconds per trial from the first start to the last end, on as many cores as Ray has; and of the whole call."""
    ledger = Ledger(folder / "trials" / f"{seed}.jsonl", {**wanted.context(), "repeat": seed})
    start = time.perf_counter()
    search.run(wanted, ledger, TRIALS, time.time() + 600, str(folder / "tune"))
    whole = time.perf_counter() - start
    return whole / TRIALS, sum(entry["seconds"] for entry in ledger.entries()) / TRIALS


def main() -> None:
    with ray_project() as root:
        paths = Paths(root, "cancer")
        collect.run(CollectConfig(uri="sklearn:breast_cancer"), paths, task=TASK)
        preprocess.run(PreprocessConfig(target="diagnosis"), paths, task=TASK)
        cores = ray_cluster.cpus()
        ready, defaults = str(paths.ready), search_defaults(ARCHITECTURE)
        common = (ready, folder_version(paths.ready), TASK, ARCHITECTURE, defaults, deciding_metric(paths.ready))
        alone, ray, inside = [], [], []
        for seed in range(REPEATS):
            wanted = Search(*common, seed, CHUNKS[0], scheduler="none")
            alone.append(bare(wanted, seed))
            whole, trained = under_ray(wanted, seed, paths.home)
            ray.append(whole)
            inside.append(trained)
    base = statistics.median(alone)
    print(f"{TRIALS} trials of `{ARCHITECTURE}` on breast_cancer, each on one core, median of {REPEATS}.\n")
    print("| | seconds per trial | ratio to bare |\n|---|---:|---:|")
    rows = {
        "bare Optuna loop, 1 core": base,
        f"Ray Tune, {cores} cores, start and end included": statistics.median(ray),
        "of it in the trial itself": statistics.median(inside),
    }
    for row, value in rows.items():
        print(f"| {row} | {value:.2f} | {value / base:.2f} |")


if __name__ == "__main__":
    main()
