"""Check what lies between machines, on the driver. A check is a function of `Seen` that yields findings."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evergreen.core.addresses import is_address
from evergreen.core.diagnosis import Finding
from evergreen.core.errors import UserError
from evergreen.stages.engines.placement import count_places, worker_resources

MAX_SKEW_SECONDS = 10.0  # limits of time travel to workers as times of day
PATIENCE_SECONDS = 5.0  # until what another machine wrote is seen
GROWS = "RAY_USAGE_STATS_KUBERAY_IN_USE"  # set by KubeRay, whose clusters grow with the work that waits


@dataclass(frozen=True)
class Machine:
    """One machine of a cluster, as Ray knows it."""

    name: str
    address: str
    resources: Mapping[str, float]
    key: str = ""  # Ray's


@dataclass(frozen=True)
class Seen:
    """Hold what the driver knows once all machines have been asked."""

    driver: str
    machines: Sequence[Machine]
    workers: int
    device: str
    probe: str  # the folder or address in which each machine has left a file of its name
    secret: str
    written: Sequence[str]  # names of the machines that could write there
    clocks: Mapping[str, tuple[float, float, float]]  # time before, there, and after


def check_cluster(seen: Seen) -> list[Finding]:
    """Run all checks between machines."""
    return [finding for check in CLUSTER_CHECKS for finding in check(seen)]


def check_reverse(seen: Seen) -> Iterator[Finding]:
    """Read on the driver what each machine wrote."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for name in seen.written:
        while (found := _read(seen.probe, name)) != seen.secret + name and time.monotonic() < deadline:
            time.sleep(0.1)
        if found != seen.secret + name:
            text = f"{seen.driver}: what {name} wrote to {seen.probe.rpartition('/')[0]} does not come here"
            yield Finding("storage", "fail", text, "mount one and the same folder on both, without caching of names")


def check_placement(seen: Seen) -> Iterator[Finding]:
    """Compare the workers that train asks for with the places that there are."""
    total: dict[str, float] = {}
    for machine in seen.machines:
        for name in ("CPU", "GPU"):
            total[name] = total.get(name, 0.0) + machine.resources.get(name, 0.0)
    worker = worker_resources(seen.workers, seen.device, total)
    places = count_places(worker, [machine.resources for machine in seen.machines])
    each = " and ".join(f"{amount:.2g} {name}" for name, amount in worker.items())
    held = ", ".join(f"{machine.name} {machine.resources.get('CPU', 0):g}" for machine in seen.machines)
    gpus = f" and {total['GPU']:g} GPUs" if "GPU" in worker else ""
    text = f"train asks for {_workers(seen.workers)} of {each} each; there are {total['CPU']:g} CPUs ({held}){gpus}"
    if places < seen.workers:
        grows = GROWS in os.environ
        fix = f"add machines, or say train: {{workers: {max(1, places)}}}"
        wait = ": KubeRay has to add machines" if grows else f", where {places} fit"
        yield Finding("placement", "warn" if grows else "fail", text + wait, fix)
    elif worker["CPU"] < 1:
        yield Finding("placement", "warn", f"{text}: they take turns", "fewer workers are as fast")
    else:
        yield Finding("placement", "ok", text)


def check_clocks(seen: Seen) -> Iterator[Finding]:
    """Compare the times of day."""
    skews = {name: max(0.0, there - after, before - there) for name, (before, there, after) in seen.clocks.items()}
    for name, skew in skews.items():
        if skew > MAX_SKEW_SECONDS:
            text = f"{name}: its clock differs by {skew:.0f} s from that of {seen.driver}"
            yield Finding("clock", "fail", text, "run an NTP client on both")
    if len(skews) > 1 and max(skews.values()) <= MAX_SKEW_SECONDS:
        yield Finding("clock", "ok", f"they differ by less than {MAX_SKEW_SECONDS:g} s")


def _read(folder: str, name: str) -> str:
    try:
        if is_address(folder):
            from evergreen.data.object_store import ObjectStore

            return ObjectStore(folder).read(name).decode()
        os.listdir(folder)  # a network's file system looks again
        return Path(folder, name).read_text(encoding="utf-8")
    except (OSError, UserError):
        return ""


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


CLUSTER_CHECKS: tuple[Any, ...] = (check_reverse, check_placement, check_clocks)
