"""Read the project's `housekeeping.yaml`: what is removed when."""

from pathlib import Path

from pydantic import Field

from evergreen.core.config import Section
from evergreen.core.yaml_file import YamlFile
from evergreen.stages.operation import Cron

FILE = "housekeeping.yaml"
LEAST_DAYS = 1.0  # younger objects and folders may belong to what is at work


class HousekeepingConfig(Section):
    """Say what of a project is removed when; `evergreen watch` does so by schedule."""

    schedule: Cron = "40 3 * * *"
    """Cron, in UTC; "" is never."""
    cache_days: float = Field(0, ge=0)
    """Days after which what no branch, tag or file records leaves DVC's cache; 0 keeps it."""
    cache_bytes: int = Field(2**62, ge=1)
    """Bytes of such objects; beyond it the oldest go sooner, but none within a day; it counts if `cache_days` does."""
    runs_days: float = Field(30, ge=LEAST_DAYS)
    """Days after which checkpoints of a run that nobody goes on with are removed."""
    released_days: float = Field(30, ge=LEAST_DAYS)
    """Days after which the copy of a version that nothing serves, and the monitor's of its rows, go; DVC has them."""
    prefect_days: float = Field(90, ge=LEAST_DAYS)
    """Days for which Prefect keeps runs and what they logged; it counts when its server starts."""
    log_bytes: int = Field(2**24, ge=2**20)
    """Bytes of a log of an engine; of a longer one the end stays."""


def read_housekeeping(root: Path) -> HousekeepingConfig:
    """Read the project's `housekeeping.yaml`; without it, its defaults serve. Raises PipelineError for a mistake."""
    file = root / FILE
    return YamlFile(file, FILE, "cache_days: 30").section(HousekeepingConfig) if file.exists() else HousekeepingConfig()
