"""The endpoint stands on several machines, takes what it serves from storage, and outlives a machine under load."""

import json
import shutil
import subprocess
import sys
import time

import pytest

from tests.cluster.machines import EVERGREEN, REPOSITORY, Machines, lacking

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(bool(why := lacking()), reason=f"several machines on one: {why}"),
]
PORT = 8123
DEPLOY = """
import json, sys
from pathlib import Path
from evergreen.core.errors import UserError
from evergreen.stages.deploy import serve_api, stage
from evergreen.stages.deploy.config import DeployConfig
root, models = Path.cwd(), sys.argv[1:]
released = {"digits": {"version": f"v{len(models)}.0.0", "path": models[-1]}}
try:
    found = stage.deploy(root, released, DeployConfig(replicas=3))
except UserError as error:
    sys.exit(str(error))
details = serve_api.get_status(root)
replicas = details["applications"]["evergreen"]["deployments"]["Endpoint"]["replicas"]
print("\\n" + json.dumps(found | {"machines": [one["node_ip"] for one in replicas if one["state"] == "RUNNING"]}))
"""
ASK = """
import collections, json, os, sys, threading, time, urllib.error, urllib.request
url, key, stop = sys.argv[1:]
body = json.dumps({"rows": [{"image": [[0.5] * 4] * 4}]}).encode()
answers, longest, over = collections.Counter(), 0.0, False
headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
def ask():
    global longest
    while not over:
        start = time.monotonic()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
                answers[answer.status, json.load(answer)["version"]] += 1
        except urllib.error.HTTPError as error:
            answers[error.code, error.read().decode()[:80]] += 1
        except OSError as error:
            answers[str(error), ""] += 1
        longest = max(longest, time.monotonic() - start)
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
print("asking", flush=True)
while not os.path.exists(stop): time.sleep(0.1)
over = True
for thread in threads: thread.join()
print(json.dumps({"longest": longest, "answers": [[*key, n] for key, n in answers.items()]}))
"""


@pytest.fixture(params=["folder", "s3"])
def cluster(request, random_model, tmp_path):
    """Three machines; of a project on the first there are two released models."""
    project = tmp_path / "project"
    project.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    subprocess.run([*EVERGREEN, "init"], cwd=project, check=True, capture_output=True)
    for seed in (1, 2):
        random_model("digits", project / ".evergreen" / "released" / "digits" / f"v{seed}.0.0", seed, "mlp")
    machines = Machines(tmp_path / "machines", project)
    try:
        for number in (1, 2, 3):
            machines.add(number)
        storage = str(machines.shared)
        if request.param == "s3":
            server = [sys.executable, str(REPOSITORY / "tests" / "s3_server.py"), f"{machines.network}.1", "9000"]
            store = machines.start(1, [*server, "shop", "5"])
            storage = f"s3://shop/evergreen?endpoint={store.stdout.readline().strip()}"
        place = f"address: {machines.address}\nstorage: {storage}\nlisten: 0.0.0.0:{PORT}\n"
        (project / "cluster.yaml").write_text(place)
        yield machines
    finally:
        machines.remove()


def deploy(machines, *seeds, status=0):
    """Deploy on the cluster, from the first machine; return what it says."""
    models = [str(machines.project / ".evergreen" / "released" / "digits" / f"v{seed}.0.0") for seed in seeds]
    process = machines.start(1, [sys.executable, "-c", DEPLOY, *models])
    printed = process.communicate(timeout=300)[0]
    assert process.returncode == status, printed
    return printed if status else json.loads(printed.strip().splitlines()[-1])


def test_a_machine_that_is_switched_off_under_load_loses_no_request(cluster):
    refused = deploy(cluster, 1, status=1)
    assert "whoever reaches this machine could ask, for there are no API keys" in refused
    made = cluster.run(1, *EVERGREEN, "keys", "add", "ada", "--json")
    key = json.loads(next(line for line in made.splitlines() if line.startswith("{")))["key"]
    found = deploy(cluster, 1)
    url = f"http://{cluster.network}.1:{PORT}"
    assert found["url"] == url
    assert sorted(found["machines"]) == [f"{cluster.network}.{number}" for number in (1, 2, 3)]
    shutil.rmtree(cluster.project / ".evergreen" / "released" / "digits" / "v1.0.0")  # storage has it

    stop = cluster.project / "stop"
    asking = cluster.start(1, [sys.executable, "-c", ASK, f"{url}/digits/predict", key, str(stop)])
    assert asking.stdout.readline() == "asking\n"
    time.sleep(2)
    assert deploy(cluster, 1, 2)["pipelines"] == {"digits": "v2.0.0"}
    cluster.switch_off(3)
    time.sleep(20)
    stop.touch()
    printed = asking.communicate(timeout=200)[0]
    counted = json.loads(printed.splitlines()[-1])
    print(counted)
    assert {(status, version) for status, version, _ in counted["answers"]} == {(200, "v1.0.0"), (200, "v2.0.0")}
    cluster.run(1, *EVERGREEN, "keys", "revoke", "ada")
    time.sleep(5)
    asking = cluster.start(1, [sys.executable, "-c", ASK, f"{url}/digits/predict", key, str(stop)])
    counted = json.loads(asking.communicate(timeout=60)[0].splitlines()[-1])
    assert {status for status, *_ in counted["answers"]} == {401}
