"""What is due, what is made up for, and when a run trains: no engine starts."""

import contextlib
import importlib
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.flows import retraining, schedule, work_pool
from evergreen.flows.retraining import reason_to_wait
from evergreen.flows.run_log import record_cancelled, record_run
from evergreen.stages.engines import versions
from evergreen.stages.operation import Operation, RetrainConfig
from evergreen.stages.pipeline import read
from evergreen.stages.train.config import TrainConfig
from tests.flows.small_project import YAML

HOURLY = Operation(schedule="0 * * * *")


def test_a_broken_yaml_is_told_and_stops_no_other(paths, hook):
    (paths.root / "notify.yaml").write_text(f"to: ['{hook.address}']\n")
    paths.pipeline.write_text(YAML + "schedule: 0 4 * * *\n")
    (paths.root / "pipelines" / "broken.yaml").write_text("task: [\n")
    (paths.root / "pipelines" / "byhand.yaml").write_text(YAML)
    said: list[str] = []
    assert list(schedule.read_operations(paths.root, said.append)) == ["churn"]
    assert len(said) == 1
    assert said[0].startswith("broken: not watched: pipelines/broken.yaml:")
    assert [body["title"] for body in hook.bodies] == ["Evergreen: broken failed"]


def test_nothing_to_watch_is_said(paths):
    with pytest.raises(PipelineError, match="no pipeline has a schedule"):
        schedule.watch(print)


def test_runs_that_were_missed_are_counted(paths):
    now = datetime.now(UTC)
    assert schedule.count_missed(paths, HOURLY, None) == 0
    assert schedule.count_missed(paths, HOURLY, now) == 0
    assert schedule.count_missed(paths, HOURLY, now - timedelta(hours=5)) == 5
    assert schedule.count_missed(paths, HOURLY, now - timedelta(days=400)) == schedule.MAX_MISSED
    record_cancelled(paths, "schedule", "")
    assert schedule.count_missed(paths, HOURLY, now - timedelta(hours=5)) == 0


def test_a_schedule_keeps_to_its_clock_when_clocks_change():
    berlin = Operation(schedule="30 2 * * *", time_zone="Europe/Berlin")
    spring, autumn = (
        [str(next(due)) for due in [berlin.due_after(datetime(2026, month, day, tzinfo=UTC))] for _ in range(3)]
        for month, day in ((3, 28), (10, 24))
    )
    assert spring == ["2026-03-28 02:30:00+01:00", "2026-03-29 03:00:00+02:00", "2026-03-30 02:30:00+02:00"]
    assert autumn == ["2026-10-24 02:30:00+02:00", "2026-10-25 02:30:00+02:00", "2026-10-26 02:30:00+01:00"]


def test_when_something_watched_last_is_on_the_disk(paths):
    assert schedule.read_last_seen(paths.root) is None
    file = paths.root / ".evergreen" / "watch_seen.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text('{"format": 1, "at": "2026-01-01T00:00:00+00:00"}')
    assert schedule.read_last_seen(paths.root) == datetime(2026, 1, 1, tzinfo=UTC)
    file.write_text('{"at": 5}')
    assert schedule.read_last_seen(paths.root) is None


@pytest.mark.parametrize(
    "wrong",
    [
        "catch_up: some",
        "time_zone: Europe/Berlim",
        "time_zone: Europe",
        "time_zone: ../x",
        "retrain: {min_new_rows: -1}",
        "retrain: {loss: -1}",
        "monitor: {schedule: daily}",
        "monitor: {window: 3}",
        "retrain: {min_distance: 3 moons}",
        "retrain: {quiet_hours: 8-18}",
    ],
)
def test_mistakes_are_said(paths, wrong):
    paths.pipeline.write_text(YAML + wrong + "\n")
    with pytest.raises(PipelineError, match=r"pipelines/churn\.yaml:5: "):
        read("churn", paths.root)


@pytest.fixture
def collected(paths, monkeypatch):
    """A pipeline that was trained on 1,000 rows; `collected` says how many there are now, and what is stale."""
    paths.candidate.mkdir(parents=True)
    (paths.candidate / "model.json").write_text("{}")
    paths.raw.mkdir(parents=True)
    with record_run(paths, "by hand") as write:
        write(rows=1000)
        write(stage="train", summary="60 epochs", seconds=3.0)
    with record_run(paths, "schedule") as write:  # it found too few
        write(rows=1050)
        write(stage="train", summary="up to date", seconds=0.0)

    def reason(n_rows: int, config: dict, trigger: str = "schedule", stale: dict | None = None) -> str:
        (paths.raw / "source.json").write_text(json.dumps({"rows": n_rows}))
        changed = {"preprocess": "input changed: data/store/churn/raw"} if stale is None else stale
        monkeypatch.setattr(versions, "stale_reasons", lambda root, pipelines: {"churn": changed})
        operation = Operation(retrain=RetrainConfig(**config))
        train = TrainConfig(workers="1..2")
        pipeline = SimpleNamespace(name="churn", operation=operation, train=train)
        return reason_to_wait(pipeline, paths, trigger)

    return reason


def test_no_new_rows_train_nothing(collected):
    assert collected(1000, {}, stale={}) == "there are no new rows, so nothing is trained"
    assert collected(1000, {}, stale={}, trigger="by hand") == ""
    assert collected(1000, {}) == ""  # as many rows, but others
    assert collected(1099, {"min_new_rows": 100}) == "99 new rows of the 100 that retrain wants, so nothing is trained"
    assert collected(1100, {"min_new_rows": 100}) == ""
    assert "149 new rows of the 150" in collected(1149, {"min_new_rows": 100, "min_new_share": 0.15})
    assert collected(1150, {"min_new_rows": 100, "min_new_share": 0.15}) == ""


def test_a_person_and_changed_settings_train_at_once(collected):
    few = {"min_new_rows": 100, "min_distance": "9 days"}
    assert collected(1001, few, trigger="by hand") == ""
    assert collected(1001, few, stale={"train": "params train.epochs changed"}) == ""
    both = {"preprocess": "input changed: data/store/churn/raw", "train": "params train.epochs changed"}
    assert collected(1001, few, stale=both) == ""


def test_what_the_monitor_starts_trains_however_few_rows_are_new(collected):
    assert collected(1001, {"min_new_rows": 100}, trigger="drift") == ""
    assert "min_distance" in collected(1001, {"min_distance": "9 days"}, trigger="loss")
    assert collected(1001, {}, trigger="drift", stale={}) == "there are no new rows, so nothing is trained"


@pytest.mark.slow
def test_looks_at_requests_have_a_schedule_of_their_own(paths, capsys):
    paths.pipeline.write_text(YAML + 'time_zone: Europe/Berlin\nmonitor: {schedule: "*/15 * * * *"}\n')
    operation = schedule.read_operations(paths.root, print)["churn"]
    runs = schedule.make_deployment("churn", operation)
    (looks,) = schedule.make_monitor_deployments("churn", operation)
    assert runs.schedules == []
    assert (looks.flow_name, looks.parameters) == ("monitor", {"name": "churn"})
    assert (looks.schedules[0].schedule.cron, looks.schedules[0].schedule.timezone) == ("*/15 * * * *", "Europe/Berlin")
    assert schedule.count_missed(paths, operation, datetime(2026, 1, 1, tzinfo=UTC)) == 0
    paths.pipeline.write_text(YAML + "schedule: 0 4 * * *\n")
    assert schedule.make_monitor_deployments("churn", schedule.read_operations(paths.root, print)["churn"]) == []


@pytest.mark.slow
def test_a_pipeline_whose_yaml_says_how_canaries_end_is_watched(paths):
    paths.pipeline.write_text(YAML + "canary: {on_timeout: abort, hours: 2}\n")
    operation = schedule.read_operations(paths.root, print)["churn"]
    (decides,) = schedule.make_canary_deployments("churn", operation)
    assert (decides.flow_name, decides.parameters, decides.schedules) == ("canary", {"name": "churn"}, [])
    assert (operation.canary.on_timeout, operation.canary.hours) == ("abort", 2)
    paths.pipeline.write_text(YAML + "schedule: 0 4 * * *\n")
    assert schedule.make_canary_deployments("churn", schedule.read_operations(paths.root, print)["churn"]) == []


def test_trainings_keep_their_distance(collected, paths):
    assert "retrain.min_distance is 9 days" in collected(5000, {"min_distance": "9 days"})
    first = sorted((paths.home / "history" / "churn").iterdir())[0]
    then = (datetime.now(UTC) - timedelta(days=10)).isoformat(timespec="seconds")
    lines = first.read_text().splitlines()
    first.write_text("\n".join([json.dumps(json.loads(lines[0]) | {"started": then}), *lines[1:]]))
    assert collected(5000, {"min_distance": "9 days"}) == ""


def test_trainings_keep_to_their_hours_and_their_budget(collected):
    clock = datetime.now(UTC)
    soon, earlier = (f"{clock + timedelta(hours=hours):%H:%M}" for hours in (2, -2))
    for quiet, is_quiet in ((f"{earlier}-{soon}", True), (f"{soon}-{earlier}", False)):
        said = collected(5000, {"quiet_hours": quiet}, trigger="drift")
        assert said.endswith(f"and retrain.quiet_hours is {quiet}, so nothing is trained") == is_quiet
        assert bool(said) == is_quiet
    assert collected(5000, {"max_core_hours": 1.0}) == ""
    said = "trainings of 30 days took 0.00167 core-hours and retrain.max_core_hours is 0.001, so nothing is trained"
    assert collected(5000, {"max_core_hours": 0.001}) == said
    assert collected(5000, {"max_core_hours": 0.001}, trigger="by hand") == ""


def test_without_a_candidate_or_a_record_it_trains(collected, paths):
    for file in (paths.home / "history" / "churn").iterdir():
        file.unlink()
    assert collected(1001, {"min_new_rows": 100}) == ""
    assert collected(1000, {}, stale={}) != ""
    (paths.candidate / "model.json").unlink()
    assert collected(1000, {}, stale={}) == ""
    assert retraining.count_rows(Paths(paths.root, "churn")) == 1000


def test_runs_that_a_pool_does_are_found_where_evergreen_is_installed(paths, monkeypatch):
    deployments = [
        schedule.make_deployment("churn", HOURLY),
        *schedule.make_housekeeping_deployments(paths.root, print),
    ]
    work_pool.assign(deployments[0], "", paths.root)
    assert deployments[0].work_pool_name is None
    client = contextlib.nullcontext(SimpleNamespace(read_work_pool=lambda name: name))
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda **_: client)
    for one in deployments:
        work_pool.assign(one, "shop", paths.root)
        module, _, flow = one.entrypoint.rpartition(".")
        assert getattr(importlib.import_module(module), flow).name == one.flow_name
        assert one.work_pool_name == "shop"
        assert [*one.storage.to_pull_step().values()] == [{"directory": str(paths.root)}]
