"""A machine outside of the cluster orders stages there, may go away meanwhile, and ends with what they made."""

import json
import shutil
import signal
import sys

import psutil
import pytest

from evergreen.core.paths import Paths
from tests.cluster.machines import EVERGREEN, PIPELINE, REPOSITORY, Machines, lacking, made, wait_for

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(bool(why := lacking()), reason=f"several machines on one: {why}"),
]
LAPTOP = 9
JOBS = """
import json, sys
from evergreen.stages.engines import ray_jobs
print(json.dumps({job.submission_id: job.status for job in ray_jobs.open_client(sys.argv[1]).list_jobs()}))
"""


@pytest.fixture
def laptop(prepared, tmp_path):
    """A cluster of two machines, and one outside of it that has the project and reaches the cluster's store."""
    project = tmp_path / "project"
    shutil.copytree(prepared, project)
    machines = Machines(tmp_path / "machines", project, home=LAPTOP)
    try:
        machines.add(1)
        machines.add(2)
        machines.add(LAPTOP, has_ray=False, shares=False)
        server = [sys.executable, str(REPOSITORY / "tests" / "s3_server.py"), f"{machines.network}.1", "9000"]
        store = machines.start(1, [*server, "shop", "5"])
        machines.dashboard = f"http://{machines.network}.1:8265"
        storage = f"s3://shop/evergreen?endpoint={store.stdout.readline().strip()}"
        (project / "cluster.yaml").write_text(f"jobs: {machines.dashboard}\nstorage: {storage}\n")
        yield machines
    finally:
        machines.remove()


def states(machines):
    """Return the state of each job of the cluster."""
    printed = machines.run(LAPTOP, sys.executable, "-c", JOBS, machines.dashboard)
    return json.loads(printed.splitlines()[-1])


def runs(machines, stage):
    return any(
        name.startswith(f"evergreen-small-{stage}-") and state == "RUNNING" for name, state in states(machines).items()
    )


def send(process, number):
    """Send a signal to what was started on a machine."""
    for child in psutil.Process(process.pid).children(recursive=True):
        if "evergreen.cli.main" in child.cmdline():
            child.send_signal(number)


def test_stages_ordered_from_outside_go_on_while_nobody_looks_and_end_in_the_project(alone, laptop):
    first = laptop.start(LAPTOP, [*EVERGREEN, "stage", "select", "small"])
    wait_for(lambda: runs(laptop, "select"))
    send(first, signal.SIGKILL)
    first.wait()
    assert "attached to the job evergreen-small-select-" in laptop.run(LAPTOP, *EVERGREEN, "stage", "select", "small")
    for stage in ("tune", "train"):
        assert f"✓ {stage}" in laptop.run(LAPTOP, *EVERGREEN, "stage", stage, "small")
    assert made(Paths(laptop.project, "small")) == made(alone)
    assert set(states(laptop).values()) == {"SUCCEEDED"}

    yaml = laptop.project / "pipelines" / "small.yaml"
    yaml.write_text(PIPELINE.replace("epochs: 6", "epochs: 4000"))
    training = laptop.start(LAPTOP, [*EVERGREEN, "stage", "train", "small"])
    wait_for(lambda: runs(laptop, "train"))
    send(training, signal.SIGINT)
    assert training.wait(60) != 0
    wait_for(lambda: "STOPPED" in states(laptop).values())
