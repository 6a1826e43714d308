"""Name the places of a project: where each thing of a pipeline lies."""

from dataclasses import dataclass
from pathlib import Path

import evergreen
from evergreen.core.errors import PipelineError

GRAPHS = ("dvc.yaml", "pipelines/dvc.yaml")  # where a project's graph may lie: the first may be the person's own
METRICS = "metrics.json"
IMPORT_ROOT = Path(evergreen.__file__).parents[1]  # what a process needs on its path to import evergreen


@dataclass(frozen=True)
class Paths:
    """Name the files and folders of one pipeline, all absolute when `root` is."""

    root: Path
    name: str

    @property
    def pipeline(self) -> Path:
        """The pipeline's YAML."""
        return self.root / "pipelines" / f"{self.name}.yaml"

    @property
    def raw(self) -> Path:
        """The collected rows, as they came."""
        return self.root / "data" / "store" / self.name / "raw"

    @property
    def ready(self) -> Path:
        """The prepared rows and their spec."""
        return self.root / "data" / "store" / self.name / "ready"

    @property
    def described(self) -> Path:
        """The description of the prepared rows and of what changed since the last ones; no stage reads it."""
        return self.root / "data" / "store" / self.name / "described"

    @property
    def select(self) -> Path:
        """The choice of an architecture."""
        return self.root / "models" / "store" / self.name / "choice" / "select.json"

    @property
    def tune(self) -> Path:
        """The options that the search found."""
        return self.root / "models" / "store" / self.name / "choice" / "tune.json"

    @property
    def candidate(self) -> Path:
        """The model that was trained last."""
        return self.root / "models" / "store" / self.name / "candidate"

    @property
    def evaluation(self) -> Path:
        """The evidence of the last validation: metrics, predictions, and what its page is drawn from."""
        return self.root / "models" / "store" / self.name / "evaluation"

    @property
    def metrics(self) -> Path:
        """The scores of the last validation; where an older Evergreen validated, they lie in `report`."""
        path, older = self.evaluation / METRICS, self.report / METRICS
        return older if older.is_file() and not path.is_file() else path

    @property
    def report(self) -> Path:
        """The page about the last validation."""
        return self.root / "models" / "store" / self.name / "report"

    @property
    def home(self) -> Path:
        """The ignored folder in which everything that runs lives."""
        return self.root / ".evergreen"

    @property
    def rejected(self) -> Path:
        """The rows for which the last preprocessing was stopped, if it was."""
        return self.home / "rejected" / self.name

    @property
    def run_lock(self) -> Path:
        """The file that the one process which may run this pipeline holds locked."""
        return self.home / "locks" / self.name

    @property
    def run_folder(self) -> Path:
        """Checkpoints of training runs."""
        return self.home / "runs" / self.name

    @property
    def races(self) -> Path:
        """The ledger of races between architectures, one JSON a line."""
        return self.home / "trials" / f"{self.name}.race.jsonl"

    @property
    def trials(self) -> Path:
        """The ledger of trials, one JSON a line."""
        return self.home / "trials" / f"{self.name}.jsonl"

    @property
    def released(self) -> Path:
        """Models of released versions, one folder each."""
        return self.home / "released" / self.name


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
