"""Make the endpoint serve what is released, and send it requests."""

from __future__ import annotations

import json
import shlex
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import PipelineError, UserError
from evergreen.core.files import read_json, write_text
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.deploy import api_keys
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.operation import CanaryConfig
from evergreen.stages.pipeline import names, read

if TYPE_CHECKING:
    from evergreen.stages.engines.challengers import Rollout

EXAMPLES = 16  # test rows of which the first valid one is sent
MAX_INLINE_CHARACTERS = 400  # characters of a request that still looks well on a command line
TIMEOUT_S = 30.0
LOOK_SECONDS, MAX_MISSED = 5.0, 3  # between two looks whether the endpoint is up, and how many may find nothing


def served_versions(root: Path) -> dict[str, str]:
    """Return the version of each pipeline that the endpoint serves; {} while it is down."""
    from evergreen.stages.deploy import stage as deploy

    endpoint = deploy.status(root)
    return endpoint["pipelines"] if endpoint else {}


def deploy_released(root: Path, progress: Progress = no_progress, needed: str = "") -> dict[str, Any]:
    """Make the endpoint serve every released version and nothing else; return what stages/deploy/stage.py does.

    One that cannot be fetched or loaded is named in `failures` and keeps no other from being served. Raises
    PipelineError where it is that of the pipeline `needed`.
    """
    from evergreen.stages.deploy import stage as deploy
    from evergreen.stages.engines import challengers, versions

    released: dict[str, dict[str, str]] = {}
    params, failures, beside = {}, {}, {}
    rollouts = challengers.rollouts(root)
    for name, version in versions.released(root).items():
        progress(stage="deploy", fetch=f"{name} {version}")
        try:
            released[name] = fetch_version(Paths(root, name), version)
        except (UserError, OSError) as error:
            failures[name] = str(error)
            continue
        try:
            pipeline = read(name, root)
            params[name], canary = pipeline.deploy, pipeline.operation.canary or CanaryConfig()
        except PipelineError:  # a mistake in one pipeline's YAML must not keep the others from being served
            params[name], canary = DeployConfig(), CanaryConfig()
        if name in rollouts:
            beside[name] = describe_beside(Paths(root, name), rollouts[name], version, canary, failures)
    if not released and failures:
        raise PipelineError(next(iter(failures.values())))
    if not released:
        raise PipelineError("nothing is released yet", fix=f"run one of: {', '.join(names(root))}: evergreen run NAME")
    served = deploy.deploy(root, released, params, progress, beside)
    served["failures"] = failures | served["failures"]
    if needed in served["failures"]:
        fix = f"evergreen rollback {needed} goes back to an earlier version"
        raise PipelineError(f"it is released and not served: {served['failures'][needed]}", place=needed, fix=fix)
    return served


def fetch_version(paths: Paths, version: str) -> dict[str, str]:
    """Return what the endpoint needs of a version: its name and files. Raises VersionError where they are lost."""
    from evergreen.stages.engines import versions

    fetched = {"version": version, "path": str(versions.checkout(paths, version))}
    predictions = versions.checkout_predictions(paths, version)
    return fetched | ({"predictions": str(predictions)} if predictions else {})


def describe_beside(
    paths: Paths, rollout: Rollout, production: str, canary: CanaryConfig, failures: dict[str, str]
) -> dict[str, Any]:
    """Return what the endpoint needs of the versions beside the one in production; `failures` hears of one lost."""
    fetched = {}
    for version in sorted({rollout.version, *rollout.pins.values()} - {"", production}):
        try:
            fetched[version] = fetch_version(paths, version)
        except (UserError, OSError) as error:
            failures[f"{paths.name} {version}"] = str(error)
    is_there = rollout.version in fetched
    return {
        "version": rollout.version * is_there,
        "role": rollout.role * is_there,
        "share": rollout.share,
        "pins": rollout.pins,
        "versions": [*fetched.values()],
        "max_bytes": canary.max_bytes,
        "max_seconds": canary.max_seconds,
    }


def refresh_endpoint(root: Path, progress: Progress = no_progress) -> dict[str, str]:
    """Make the endpoint, where it is up, serve what is released, and end it where nothing is; return what it serves."""
    from evergreen.stages.deploy import stage as deploy
    from evergreen.stages.engines import versions

    if served_versions(root) and not versions.released(root):
        deploy.undeploy(root)
    elif served_versions(root) not in ({}, versions.released(root)):
        deploy_released(root, progress)
    return served_versions(root)


def wait_for_end(root: Path) -> None:
    """Return once the endpoint is down, which Serve did not start again."""
    from evergreen.stages.deploy import stage as deploy

    n_missed = 0
    while n_missed < MAX_MISSED:
        time.sleep(LOOK_SECONDS)
        try:
            n_missed = 0 if deploy.status(root) else n_missed + 1
        except (UserError, OSError):
            n_missed += 1


def example_request(paths: Paths) -> dict[str, Any]:
    """Return the first valid one of a few test rows in the form of a request; each version of the rows is read once."""
    file = _example_file(paths)
    try:
        row: dict[str, Any] = json.loads(file.read_bytes())["rows"][0]
    except (OSError, ValueError, TypeError, LookupError):
        from evergreen.data import prepared
        from evergreen.data.spec import FeatureSpec

        row = FeatureSpec.load(paths.ready).example_request(prepared.first_rows(paths.ready, "test", EXAMPLES))
        shutil.rmtree(file.parent, ignore_errors=True)  # the rows of before
        write_text(file, json.dumps({"rows": [row]}))
    return row


def _example_file(paths: Paths) -> Path:
    """Return the file of the request, named by the rows that the candidate was trained on."""
    version = read_json(paths.candidate / "model.json").get("data_version", "")
    return paths.home / "examples" / paths.name / f"{version}.json"


def ask(url: str, paths: Paths, row: dict[str, Any]) -> dict[str, Any]:
    """Send one row to the endpoint and return its response.

    Raises:
        PipelineError: the endpoint refuses it, with its own words, or does not answer.
    """
    body = json.dumps({"rows": [row]}).encode()
    headers = {"Content-Type": "application/json", **api_keys.owner_headers(paths.root)}
    request = urllib.request.Request(f"{url}/{paths.name}/predict", body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of this machine
    limit = time.monotonic() + TIMEOUT_S
    while True:
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                response: dict[str, Any] = json.load(answer)
                return response
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            problem = f"the endpoint refused the request ({error.code}: {text})"
            raise PipelineError(problem, place=request.full_url) from error
        except OSError as error:
            if time.monotonic() > limit:
                raise PipelineError(f"no answer ({error})", place=request.full_url, fix="evergreen serve") from error
            time.sleep(0.2)


def curl_command(url: str, paths: Paths, row: dict[str, Any]) -> str:
    """Return a line for the shell that sends the row; a long row is put into a file."""
    body = json.dumps({"rows": [row]})
    if len(body) > MAX_INLINE_CHARACTERS:
        body = f"@{_example_file(paths)}"
    key = " -H 'Authorization: Bearer KEY'" * api_keys.keys_file(paths.root).exists()
    return f"curl -s {url}/{paths.name}/predict -H 'Content-Type: application/json'{key} -d {shlex.quote(body)}"
