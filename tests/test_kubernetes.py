"""What cannot run here is at least of one piece: the image, the manifests and the template name the same things."""

import json
import re
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]


def manifests(name: str) -> dict[str, dict]:
    return {one["kind"]: one for one in YAML(typ="safe").load_all((ROOT / "kubernetes" / name).read_text())}


def test_all_machines_are_alike_and_see_the_project():
    both = manifests("cluster.yaml")
    claim, cluster = both["PersistentVolumeClaim"]["metadata"]["name"], both["RayCluster"]["spec"]
    assert f"ray=={cluster['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    assert cluster["authOptions"] == {"mode": "token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert f"--tag {container['image']} " in (ROOT / "Makefile").read_text()
        assert {"name": "project", "mountPath": "/project"} in container["volumeMounts"]
        assert {"name": "project", "persistentVolumeClaim": {"claimName": claim}} in pod["volumes"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert pod["securityContext"]["runAsNonRoot"]


def test_a_run_goes_to_that_cluster():
    job = manifests("run.yaml")["RayJob"]["spec"]
    assert job["clusterSelector"] == {"ray.io/cluster": manifests("cluster.yaml")["RayCluster"]["metadata"]["name"]}
    assert "evergreen run" in job["entrypoint"]


def test_the_image_takes_what_is_pinned_and_nothing_of_a_clone():
    steps, kept = ((ROOT / "docker" / name).read_text() for name in ("Dockerfile", "Dockerfile.dockerignore"))
    assert steps.index("torch") < steps.index("--require-hashes") < steps.index("--no-deps")
    assert re.search(r"^USER (?!root)", steps, re.M)
    assert kept.splitlines()[1] == "*"
    rooms = {path.name for path in (ROOT / "evergreen").iterdir() if path.is_symlink()}
    assert {f"!{room}" for room in rooms} <= set(kept.splitlines())


def test_the_template_of_a_work_pool_asks_for_what_it_uses():
    template = json.loads((ROOT / "docker" / "work-pool.json").read_text())
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert used == template["variables"]["properties"].keys()
    image = template["variables"]["properties"]["image"]["default"]
    assert f"--tag {image} " in (ROOT / "Makefile").read_text()
    assert template["job_configuration"]["network_mode"] == "host"  # Prefect's server listens on loopback
