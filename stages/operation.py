"""The keys of a pipeline's YAML beside the sections of its stages: when it runs, who releases it, who hears of it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from evergreen.core.config import DIFFERENT, MAX_SHOWN, Section
from evergreen.core.errors import PipelineError
from evergreen.core.yaml_file import YamlFile

CRON = 'write five fields, minute hour day month weekday: schedule: "30 4 * * *" is every day at 04:30 UTC'


def _check_cron(schedule: str) -> str:
    if problem := cron_problem(schedule[: MAX_SHOWN + 1]):
        raise PipelineError(f"schedule {schedule[:MAX_SHOWN]!r} is not cron syntax ({problem})", fix=CRON)
    return schedule


class ReleaseConfig(Section):
    """Say in which cases a person decides about a candidate that proved better."""

    ask_when: Annotated[list[Literal["new class", "score drop", "size"]], *DIFFERENT, Field(min_length=1)]
    """Cases: a class that the released version does not know; a score that fell, whichever decides; a larger model."""


class Operation(Section):
    """Say when a pipeline runs, and who releases what it makes."""

    schedule: Annotated[str, AfterValidator(_check_cron)] = Field("", json_schema_extra={"maxLength": MAX_SHOWN})
    """Cron, in UTC; without it, the pipeline runs only by hand."""
    release: Literal["auto", "ask"] | ReleaseConfig = "auto"
    """Who releases a candidate that proved better: the verdict, a person, or a person in some cases."""


SECTIONS: dict[str, type[Section]] = {"release": ReleaseConfig}


def read_operation(file: YamlFile) -> Operation:
    """Read the keys at the top of a pipeline's YAML. Raises PipelineError."""
    given: dict[str, Any] = {key: file.values[key] for key in Operation.known_keys() if key in file.values}
    for key, model in SECTIONS.items():
        if isinstance(given.get(key), dict):
            given[key] = file.section(model, key)
    return file.check(Operation, given)


def cron_problem(schedule: str) -> str:
    """Return what is wrong with a cron schedule, or ""."""
    if not schedule:
        return ""
    if len(schedule) > MAX_SHOWN:
        return f"it is longer than {MAX_SHOWN} characters"
    if len(schedule.split()) != 5:
        return f"it has {len(schedule.split())} of the 5 fields"
    from datetime import datetime

    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(schedule, datetime.now()))
    except (CronSimError, StopIteration) as error:
        return str(error) or "it never matches"
    return ""
