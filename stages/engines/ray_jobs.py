"""Run a command as a job on a cluster that this machine is no part of, by Ray's Job Submission; attach to one again."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.core.errors import OutageError, PipelineError
from evergreen.stages.engines.preflight.reach import TOKEN
from evergreen.stages.engines.ray_watch import AGAIN

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 120.0  # how long the cluster may be out of reach: the job does not need this machine


def open_client(address: str) -> "JobSubmissionClient":
    """Connect to the dashboard of a cluster. Raises OutageError where none answers, PipelineError for the token."""
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    from evergreen.stages.engines.ray_internals import read_token_again

    read_token_again()
    logging.getLogger("ray").setLevel(logging.ERROR)  # it tells of each package that it uploads
    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        raise PipelineError("the cluster does not take this token", place=address, fix=TOKEN) from None
    except (ConnectionError, RuntimeError) as error:
        fix = "start Ray's head with --dashboard-host 0.0.0.0, or set the address of jobs in cluster.yaml"
        raise OutageError(f"no cluster answers ({str(error).partition(chr(10))[0]})", place=address, fix=fix) from None


def start(
    client: "JobSubmissionClient", key: str, command: str, folder: Path, about: Mapping[str, str], *, is_kept: bool
) -> bool:
    """Start a command in a copy of a folder, unless its job runs; tell whether it was started.

    One that has succeeded is not started again while what it made `is_kept`.

    Other jobs that say the same `about` themselves are stopped: what they work on has changed.
    """
    known = {job.submission_id: job for job in client.list_jobs() if job.submission_id}
    for name, job in known.items():
        if name != key and job.metadata == dict(about) and not job.status.is_terminal():
            client.stop_job(name)
    if (job := known.get(key)) and (not job.status.is_terminal() or (job.status == "SUCCEEDED" and is_kept)):
        return False
    if job:
        client.delete_job(key)
    environment = {"working_dir": str(folder)}
    client.submit_job(entrypoint=command, submission_id=key, runtime_env=environment, metadata=dict(about))
    return True


def follow(client: "JobSubmissionClient", key: str, hear: Callable[[str], None]) -> str:
    """Call `hear` with each line that a job prints, until it ends; return what Ray says where it failed, or "".

    A KeyboardInterrupt stops the job. Raises OutageError where the cluster is out of reach for long.
    """
    position, heard = 0, time.monotonic()
    while True:
        try:
            status = client.get_job_status(key)
            log = client.get_job_logs(key)
            heard = time.monotonic()
            whole = len(log) if status.is_terminal() else log.rfind("\n") + 1
            for line in log[position:whole].split("\n"):
                hear(line)
            position = max(position, whole)
            if status.is_terminal():
                return "" if status == "SUCCEEDED" else client.get_job_info(key).message or str(status)
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            client.stop_job(key)
            raise
        except (ConnectionError, RuntimeError) as error:
            if time.monotonic() - heard > PATIENCE_SECONDS:
                problem = f"the cluster is out of reach ({str(error).partition(chr(10))[0]}); the job {key} goes on"
                raise OutageError(problem, place=client.get_address(), fix=AGAIN) from None
            time.sleep(POLL_SECONDS)
