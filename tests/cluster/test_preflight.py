"""Machines that would stop a run are named before it costs, each with what is wrong and how to mend it."""

import json
import shutil

import pytest

from tests.cluster.machines import EVERGREEN, PIPELINE, Machines, lacking

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(bool(why := lacking()), reason=f"several machines on one: {why}"),
]


@pytest.fixture
def unfit(prepared, tmp_path):
    """Three machines: the second does not share storage, the third has another torch."""
    project = tmp_path / "project"
    shutil.copytree(prepared, project)
    machines = Machines(tmp_path / "machines", project)
    (project / "cluster.yaml").write_text(f"address: {machines.address}\nstorage: {machines.shared}\n")
    (project / "pipelines" / "small.yaml").write_text(PIPELINE.replace("workers: 2", "workers: 5"))
    faked = tmp_path / "machines" / "faked" / "torch-9.9.9.dist-info"
    faked.mkdir(parents=True)
    (faked / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n")
    try:
        machines.add(1)
        machines.add(2, shares=False)
        machines.add(3, packages=str(faked.parent))
        yield machines
    finally:
        machines.remove()


def ask(machines, *command, **variables):
    """Run a command on the first machine; return its status and what it printed."""
    given = [f"{name}={value}" for name, value in variables.items()]
    process = machines.start(1, ["env", *given, *EVERGREEN, *command])
    printed = process.communicate(timeout=300)[0]
    return process.returncode, printed


def test_what_would_stop_a_run_is_named_machine_by_machine(unfit):
    status, printed = ask(unfit, "preflight", "small")
    assert status == 1, printed
    lines = [line for line in printed.splitlines() if line.startswith("fail")]
    assert len(lines) == 3, printed
    versions, storage, placement = lines
    assert "m3: torch 9.9.9 is installed, on m1 it is 2." in versions
    assert f"m2: {unfit.shared} is another folder there, what m1 wrote is not in it; mount the folder" in storage
    assert "train asks for 5 workers of 0.6 CPU each; there are 3 CPUs (m1 1, m2 1, m3 1), where 3 fit" in placement
    assert "ok   data        2 of 3 machines: the prepared rows are read, with equal hash" in printed

    status, printed = ask(unfit, "stage", "select", "small")  # refused before it costs
    assert status == 2, printed
    assert "m3: torch 9.9.9 is installed" in printed
    assert "and 2 more: evergreen preflight small" in printed
    assert not (unfit.project / ".evergreen" / "trials").exists()

    wrong = unfit.shared / "wrong"
    wrong.write_text("0" * 64)
    wrong.chmod(0o600)
    status, printed = ask(unfit, "preflight", "small", RAY_AUTH_TOKEN_PATH=wrong)
    assert status == 1, printed
    assert f"{unfit.address}: the cluster does not take this token; put the cluster's token into a file" in printed

    for number in (2, 3):
        unfit.kill(number)
    (unfit.project / "pipelines" / "small.yaml").write_text(PIPELINE.replace("workers: 2", "workers: 1"))
    status, printed = ask(unfit, "preflight", "small", "--json")
    assert status == 0, printed  # whether their death is known yet or not
    value = json.loads(next(line for line in printed.splitlines() if line.startswith("{")))
    found = {one["what"]: one["text"] for one in value["findings"]}
    assert found.keys() >= {"versions", "token", "storage", "space", "data", "placement"}
    assert found["network"] == "1 worker (1 on m1), which meets nobody"
    assert not [*unfit.shared.glob(".preflight*")]
