"""Name the places of a project: where each thing of a pipeline lies."""

from dataclasses import dataclass
from pathlib import Path

import evergreen
from evergreen.core.errors import PipelineError

GRAPHS = ("dvc.yaml", "pipelines/dvc.yaml")  # where a project's graph may lie: the first may be the person's own
METRICS = "metrics.json"
IMPORT_ROOT = Path(evergreen.__file__).parents[1]  # what a process needs on its path to import evergreen


class _Place:
    """Name a file or folder of a pipeline by its path in the project, in which NAME stands for the pipeline's name."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __get__(self, paths: "Paths", owner: type) -> Path:
        return (paths.base or paths.root) / self.path.replace("NAME", paths.name)


@dataclass(frozen=True)
class Paths:
    """Name the files and folders of one pipeline, all absolute when `root` is."""

    root: Path
    name: str
    base: Path | None = None
    """The folder below which all of it lies, where that is not the root: a run of the past has one of its own."""

    pipeline = _Place("pipelines/NAME.yaml")
    """The pipeline's YAML."""
    forgotten = _Place("pipelines/NAME.forgotten.json")
    """The rows that collect leaves out, since somebody asked for it."""
    raw = _Place("data/store/NAME/raw")
    """The collected rows, as they came."""
    ready = _Place("data/store/NAME/ready")
    """The prepared rows and their spec."""
    described = _Place("data/store/NAME/described")
    """The description of the prepared rows and of what changed since the last ones; no stage reads it."""
    select = _Place("models/store/NAME/choice/select.json")
    """The choice of an architecture."""
    tune = _Place("models/store/NAME/choice/tune.json")
    """The options that the search found."""
    candidate = _Place("models/store/NAME/candidate")
    """The model that was trained last."""
    served = _Place("models/store/NAME/served")
    """The candidate with a graph of ONNX, where it has one: what its version is served from."""
    evaluation = _Place("models/store/NAME/evaluation")
    """The evidence of the last validation: metrics, predictions, and what its page is drawn from."""
    report = _Place("models/store/NAME/report")
    """The page about the last validation."""
    home = _Place(".evergreen")
    """The ignored folder in which everything that runs lives."""
    rejected = _Place(".evergreen/rejected/NAME")
    """The rows for which the last preprocessing was stopped, if it was."""
    run_lock = _Place(".evergreen/locks/NAME")
    """The file that the one process which may run this pipeline holds locked."""
    run_folder = _Place(".evergreen/runs/NAME")
    """Checkpoints of training runs."""
    races = _Place(".evergreen/trials/NAME.race.jsonl")
    """The ledger of races between architectures, one JSON a line."""
    trials = _Place(".evergreen/trials/NAME.jsonl")
    """The ledger of trials, one JSON a line."""
    released = _Place(".evergreen/released/NAME")
    """Models of released versions, one folder each."""
    requests = _Place(".evergreen/requests/NAME")
    """The log of requests and answers, and labels that came later."""
    monitor = _Place(".evergreen/monitor/NAME")
    """The findings of the monitor, and what each version's requests are compared with."""

    @property
    def metrics(self) -> Path:
        """The scores of the last validation; where an older Evergreen validated, they lie in `report`."""
        path, older = self.evaluation / METRICS, self.report / METRICS
        return older if older.is_file() and not path.is_file() else path


def find_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: the working directory) in which `evergreen init` ran."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "pipelines").is_dir() and any((folder / graph).is_file() for graph in GRAPHS):
            return folder
    fix = "change into a project, or make one here with: evergreen init"
    raise PipelineError("this folder is not in an Evergreen project", place=str(here), fix=fix)


def find_running_root() -> Path:
    """Return the root of the project, or where that is spoiled the nearest folder that holds what runs."""
    try:
        return find_root()
    except PipelineError:
        here = Path.cwd().resolve()
        found = [folder for folder in (here, *here.parents) if (folder / ".evergreen").is_dir()]
        if not found:
            raise
        return found[0]
