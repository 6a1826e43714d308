"""`evergreen watch` with a real Prefect: what overlaps, what was missed, and what a killed process leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from evergreen.core.files import write_json
from evergreen.core.paths import Paths
from evergreen.core.processes import exclusive_lock
from evergreen.flows.run_log import read_runs
from evergreen.stages.deploy import api_keys
from evergreen.stages.engines import project
from tests.slow.prefect_api import open_api

ROOT = Path(__file__).parents[2]
YAML = "task: classification\ncollect: {uri: rows.csv}\npreprocess: {target: kind}\n"
LIMIT_S = 300


def command(root: Path, *arguments: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PREFECT_"))}
    words = [sys.executable, "-m", "evergreen.cli.main", *arguments]
    variables = kept | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, cwd=root, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def shop(tmp_path):
    """A project with an hourly pipeline, whose runs were due for five hours while nothing watched."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    project.create(tmp_path)
    later = datetime.now(UTC) + timedelta(minutes=30)
    for name, more in (("churn", ""), ("prices", "catch_up: none\n")):
        (tmp_path / "pipelines" / f"{name}.yaml").write_text(f'{YAML}schedule: "{later.minute} * * * *"\n{more}')
    (tmp_path / "pipelines" / "broken.yaml").write_text("task: [")
    seen = (datetime.now(UTC) - timedelta(hours=5)).isoformat(timespec="seconds")
    (tmp_path / ".evergreen").mkdir(exist_ok=True)
    (tmp_path / ".evergreen" / "watch_seen.json").write_text(json.dumps({"format": 1, "at": seen}))
    yield tmp_path
    command(tmp_path, "stop").communicate()


def find_drift(paths: Paths) -> None:
    """Leave findings of one window, in which a column moved; drift is to begin a run."""
    at = "2026-03-01T00:00:00+00:00"
    window = {"version": "v1.0.0", "rows": 200, "first": at, "last": at, "estimate": None}
    window |= {"moved": ["age: median 20 before, 40 now"], "spans": {}}
    window["columns"] = [{"column": "age", "distance": 0.4, "matters": True}]
    window |= {"latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0}, "truth": {"labels": 0, "sum": 0.0, "squares": 0.0}}
    labels, known = {"last": "", "waiting": {}}, {"v1.0.0": {"metric": "accuracy", "problem": ""}}
    findings = {"format": 1, "windows": [window], "position": {}, "labels": labels, "versions": known, "latest": None}
    write_json(paths.monitor / "monitor.json", findings)
    with paths.pipeline.open("a") as file:
        file.write('retrain: {drift: true}\nmonitor: {schedule: "0 0 1 1 *"}\n')


def begin_now(root: Path, *deployments: str) -> None:
    """Have those runs now that the schedule plans for the next January, or night."""
    with open_api(root) as api:
        for name in deployments:
            identity = api.get(f"/api/deployments/name/{name}").raise_for_status().json()["id"]
            state = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}
            api.post(f"/api/deployments/{identity}/create_flow_run", json={"state": state}).raise_for_status()


def flow_runs(root: Path) -> dict[str, dict]:
    with open_api(root) as api:
        return {run["name"]: run for run in api.post("/api/flow_runs/filter", json={}).raise_for_status().json()}


def wait_for(find, process: subprocess.Popen[str]):
    limit = time.monotonic() + LIMIT_S
    while time.monotonic() < limit and process.poll() is None:
        if found := find():
            return found
        time.sleep(1)
    process.terminate()
    raise AssertionError(process.communicate())


def test_what_overlaps_is_cancelled_in_words_and_what_was_missed_made_up_for_once(shop):
    paths, name = Paths(shop, "churn"), "churn: catch-up"
    find_drift(paths)
    old = paths.home / "runs" / "prices" / "old"
    old.mkdir(parents=True)
    (old / "weights").write_bytes(bytes(2**22))
    for path in (old / "weights", old):
        os.utime(path, (0, 0))
    with exclusive_lock(paths.run_lock, "busy"):  # as a run by hand holds it
        watching = command(shop, "watch")
        try:
            ended = wait_for(
                lambda: (
                    (run := flow_runs(shop).get(name)) and run["state_type"] in ("CANCELLED", "FAILED") and run
                    if (shop / ".evergreen" / "watch.json").exists()
                    else None
                ),
                watching,
            )
            begin_now(shop, "monitor/churn", "housekeeping/project")
            ends = ("CANCELLED", "FAILED", "CRASHED")
            address = json.loads((shop / ".evergreen" / "links.json").read_text())["url"]
            key = {"Authorization": f"Bearer {api_keys.owner_key(shop)}"}
            asked = httpx.post(f"{address}/retrain?pipeline=churn", headers=key, trust_env=False)
            unwatched = httpx.post(f"{address}/retrain?pipeline=broken", headers=key, trust_env=False)
            drifted = wait_for(
                lambda: (run := flow_runs(shop).get("churn: drift")) and run["state_type"] in ends and run, watching
            )
            wait_for(lambda: (run := flow_runs(shop).get("churn: by link")) and run["state_type"] in ends, watching)
            cleaned = wait_for(
                lambda: (run := flow_runs(shop).get("housekeeping")) and run["state_type"] == "COMPLETED" and run,
                watching,
            )
        finally:
            watching.send_signal(signal.SIGTERM)
            out, err = watching.communicate(timeout=60)
    assert (asked.status_code, unwatched.status_code) == (200, 409)
    assert drifted["state"]["message"].startswith("churn is already running")
    look = flow_runs(shop)["churn: requests"]
    assert look["state"]["message"] == "1 moved; a run begins: drift"
    assert ended["state_type"] == "CANCELLED", (out, err)
    assert ended["state"]["message"].startswith(f"churn is already running (process {os.getpid()}")
    past = [run for run in flow_runs(shop).values() if run["start_time"]]
    assert sorted(run["name"] for run in past) == [
        "churn: by link",
        name,
        "churn: drift",
        "churn: requests",
        "housekeeping",
    ]
    assert cleaned["state"]["message"] == "freed 4.2 MB of checkpoints"
    assert "broken: not watched: pipelines/broken.yaml:" in out
    assert "churn: 1 made up for" in out
    assert re.search(r"prices: \d+ \* \* \* \* \(UTC\)", out)
    assert "prices: 1 made" not in out
    records = {one.trigger: one for one in read_runs(paths)}
    assert {trigger: one.end for trigger, one in records.items()} == dict.fromkeys(
        ("by link", "catch-up", "drift"), "cancelled"
    )
    assert records["catch-up"].why.startswith("churn is already running")


def test_what_a_killed_process_left_is_crashed_when_watching_begins_again(shop):
    """A ghost that counts as running, and a run that was due: neither stands in the way of the next."""
    (shop / ".evergreen" / "watch_seen.json").unlink()
    started = command(shop, "prefect", "version")
    started.communicate()
    with open_api(shop) as api:
        flow = api.post("/api/flows/", json={"name": "lifecycle"}).raise_for_status().json()["id"]
        ghost = {"flow_id": flow, "state": {"type": "RUNNING"}, "tags": ["prices"], "name": "ghost"}
        due = {"flow_id": flow, "tags": ["prices"], "name": "due"}
        due["state"] = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2026-01-01T00:00:00Z"}}
        for body in (ghost, due):
            api.post("/api/flow_runs/", json=body).raise_for_status()
        for name, state in (("monitor", "RUNNING"), ("housekeeping", "PENDING"), ("canary", "RUNNING")):
            flow = api.post("/api/flows/", json={"name": name}).raise_for_status().json()["id"]
            body = {"flow_id": flow, "state": {"type": state}, "name": f"ghost {name}"}
            api.post("/api/flow_runs/", json=body).raise_for_status()
    watching = command(shop, "watch")
    try:
        states = wait_for(
            lambda: (
                (found := flow_runs(shop))
                and (both := {one: found[one]["state_type"] for one in ("ghost", "due")})
                and set(both.values()) <= {"CRASHED", "CANCELLED"}
                and both
            ),
            watching,
        )
        runs = flow_runs(shop)
    finally:
        watching.send_signal(signal.SIGTERM)
        watching.communicate(timeout=60)
    assert states == {"ghost": "CRASHED", "due": "CANCELLED"}
    others = {run["state_type"] for name, run in runs.items() if name.startswith("ghost ")}
    assert others == {"CRASHED"}
