"""The keys of a pipeline's YAML beside the sections of its stages: when it runs, who releases it, who hears of it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field

from evergreen.core.addresses import check_no_secret
from evergreen.core.config import DIFFERENT, MAX_SHOWN, Names, Section
from evergreen.core.durations import parse_duration
from evergreen.core.errors import PipelineError, suggest
from evergreen.core.redaction import VARIABLE
from evergreen.core.yaml_file import YamlFile

SERVICES = "https://github.com/caronc/apprise lists all of them"
WITHOUT_SECRET = {  # services whose addresses may do without one
    *("mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms"),
    *("dbus", "gnome", "macosx", "windows", "syslog", "rsyslog"),
}
CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
CRON = 'write five fields, minute hour day month weekday: schedule: "30 4 * * *" is every day at 04:30'


def _check_cron(schedule: str) -> str:
    if schedule and (problem := cron_problem(schedule[: MAX_SHOWN + 1])):
        raise PipelineError(f"schedule {schedule[:MAX_SHOWN]!r} is not cron syntax ({problem})", fix=CRON)
    return schedule


def _check_time_zone(name: str) -> str:
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # a folder of zones, a path, no zone
        fix = suggest(name, sorted(available_timezones()), "for example Europe/Berlin; zones")
        raise PipelineError(f"there is no time zone {name!r}", fix=fix) from None
    return name


def _check_duration(duration: str) -> str:
    """Raise ValueError for a text that is no duration."""
    if duration:
        parse_duration(duration)
    return duration


def _check_address(address: str) -> str:
    """Raise PipelineError or DataError for an address with a secret in it, or without a scheme."""
    check_no_secret(address)
    scheme, separator, _ = address.partition("://")
    if VARIABLE.search(address):
        return address
    if not separator:
        raise PipelineError("an address begins with a service, like mailto:// or slack://", fix=SERVICES)
    if scheme.lower() not in WITHOUT_SECRET:
        fix = f"write what is secret as ${{NAME}}, which the environment fills in: {scheme}://${{NAME}}"
        raise PipelineError(f"an address of {scheme} holds a secret", fix=fix)
    return address


Duration = Annotated[str, Field(max_length=MAX_SHOWN), AfterValidator(_check_duration)]
Address = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_check_address)]
Cron = Annotated[str, AfterValidator(_check_cron), Field(json_schema_extra={"maxLength": MAX_SHOWN})]
EventName = Literal["failed", "recovered", "waiting", "timed out", "released", "rolled back", "overdue", "drift"]


class NotifyConfig(Section):
    """Say who hears of what happens to a pipeline."""

    to: Annotated[list[Address], *DIFFERENT, Field(min_length=1)]
    """Addresses as Apprise reads them: `mailtos://…`, `slack://…`, `jsons://…`; `${NAME}` is the environment's."""
    events: Annotated[list[EventName], *DIFFERENT, Field(min_length=1)] = list(get_args(EventName))
    """What to tell; `overdue`: not succeeded for as long as `alarm_after` says; `timed out`: `ask` decided instead."""
    repeat_after: Duration = "1d"
    """How long a failure of the same reason is not told again."""
    links: str = Field("", max_length=500, pattern=r"^(https?://[^\s?#]+)?$", examples=["https://models.example.org"])
    """Under which address people reach what `evergreen watch` answers; by default that of this machine alone."""
    max_per_hour: int = Field(6, ge=1, le=1000)
    """Messages to an address; further events wait and come together in one."""


class RetrainConfig(Section):
    """Say when what a schedule or another trigger collected is worth a training; a run by hand always trains.

    Each limit that is set has to be reached. Rows are counted against those of the last training, and settings or code
    that changed train at once.
    """

    min_new_rows: int = Field(0, ge=0)
    """Rows more than at the last training."""
    min_new_share: float = Field(0, ge=0, le=1000)
    """The same, as a share of the rows at the last training."""
    min_distance: Duration = ""
    """Time since the last training began: "7 days"."""
    max_core_hours: float = Field(0, ge=0)
    """Core-hours that the trainings of 30 days may take, their seconds times the workers; 0 is no limit."""
    quiet_hours: str = Field("", pattern=rf"^({CLOCK}-{CLOCK})?$", examples=["08:00-18:30"])
    """When nothing is trained, by the clock of `time_zone`: "08:00-18:30"."""
    drift: bool = False
    """Begin a run where the scheduled monitor finds that columns moved or that labels contradict the estimate."""
    loss: float = Field(0, ge=0)
    """Begin a run where the true loss, else the estimated one, is above this: the share of wrong answers, or RMSE."""


class MonitorConfig(Section):
    """Say when, and how finely, the requests of the released version are compared with what it was made from."""

    schedule: Cron = ""
    """Cron, by the clock of `time_zone`; without it, `evergreen monitor` does so by hand."""
    window: int = Field(1000, ge=50, le=1_000_000)
    """Rows that are looked at together: fewer notice sooner, more notice less."""
    matters: float = Field(0.1, gt=0, le=1)
    """How far a column must be from the rows that the model was made from: 0 is alike, 1 is apart."""
    slices: Names = Field([], max_length=100)
    """Columns by whose values, or thirds, scores are told apart; if left out, up to four columns of few words."""


class CanaryConfig(Section):
    """Say how a version beside the one in production is served, and who decides about it; with it, a flow does."""

    hours: float = Field(24.0, gt=0, le=10_000)
    """After so long without a decision, `on_timeout` holds."""
    on_timeout: Literal["ask", "promote", "abort"] = "ask"
    """What becomes of one about which the requests could not decide in time, or of which there were too few."""
    max_disagreement: float = Field(0.3, gt=0, lt=1)
    """Share of rows for which its answer may be another than that of the version in production."""
    max_slowdown: float = Field(1.5, ge=1, le=1000)
    """How many times as long it may take, in most pairs of requests."""
    max_seconds: float = Field(5.0, gt=0, le=600)
    """Seconds in which it must answer; then the version in production does."""
    max_bytes: int = Field(2 * 2**30, ge=2**26, le=2**50)
    """Memory that it may take in a replica, beside that of the libraries."""


class ReleaseConfig(Section):
    """Say in which cases a person decides about a candidate that proved better."""

    ask_when: Annotated[list[Literal["new class", "score drop", "size"]], *DIFFERENT, Field(min_length=1)]
    """Cases: a class that the released version does not know; a score that fell, whichever decides; a larger model."""


class AskConfig(Section):
    """Say how long a candidate waits for a person's word, and what becomes of it then."""

    hours: float = Field(168.0, gt=0, le=10_000)
    """After so long, `on_timeout` holds, and links in a message are over."""
    on_timeout: Literal["wait", "release", "reject"] = "wait"
    """What becomes of one about which nobody decided; one that could not be compared is not released by that."""


class Operation(Section):
    """Say when a pipeline runs, who releases what it makes, and who hears of it."""

    schedule: Cron = ""
    """Cron; without it, the pipeline runs only by hand."""
    time_zone: Annotated[str, Field(max_length=MAX_SHOWN), AfterValidator(_check_time_zone)] = "UTC"
    """Whose clock the schedule means: "Europe/Berlin"; an hour that a change leaves out runs right after."""
    catch_up: Literal["none", "last", "all"] = "last"
    """Which of the runs that were due while nothing watched are made up for; `all` of them run one after the other."""
    retrain: RetrainConfig = RetrainConfig()
    """When a run that was not started by hand trains."""
    monitor: MonitorConfig = MonitorConfig()
    """When and how its requests are looked at."""
    canary: CanaryConfig | None = None
    """How a version beside the one in production is decided about; without it, by a person."""
    release: Literal["auto", "ask"] | ReleaseConfig = "auto"
    """Who releases a candidate that proved better: the verdict, a person, or a person in some cases."""
    ask: AskConfig = AskConfig()
    """How long a candidate waits for a person's word, and what becomes of it then."""
    notify: NotifyConfig | None = None
    """Who hears of it, instead of those whom the project's `notify.yaml` names."""
    alarm_after: Duration = ""
    """How long it may go without a run that succeeds before that is an event of its own: "3 days"."""

    def due_after(self, moment: datetime) -> Iterator[datetime]:
        """Return when the schedule is due after a moment with a zone, again and again."""
        from zoneinfo import ZoneInfo

        from cronsim import CronSim

        return CronSim(self.schedule, moment.astimezone(ZoneInfo(self.time_zone)))


SECTIONS: dict[str, type[Section]] = {
    "release": ReleaseConfig,
    "ask": AskConfig,
    "notify": NotifyConfig,
    "retrain": RetrainConfig,
    "monitor": MonitorConfig,
    "canary": CanaryConfig,
}


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
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(schedule, datetime.now()))
    except (CronSimError, StopIteration) as error:
        return str(error) or "it never matches"
    return ""
