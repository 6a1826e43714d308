"""Say what each of a training's workers takes of the machines, and how many of them these hold."""

from collections.abc import Iterable, Mapping


def worker_resources(workers: int, device: str, resources: Mapping[str, float]) -> dict[str, float]:
    """Return what a worker takes of the cluster's `resources`: a GPU where it trains on one, and a core.

    Where there are fewer cores than workers it is an even share.
    """
    share = {"CPU": min(1.0, resources.get("CPU", 1.0) / workers)}
    is_on_gpu = device == "cuda" or (device == "auto" and resources.get("GPU", 0) >= 1)
    return {**share, "GPU": 1} if is_on_gpu else share


def count_places(worker: Mapping[str, float], machines: Iterable[Mapping[str, float]]) -> int:
    """Count the workers that machines hold; a worker stands on one of them."""
    return sum(min(int(machine.get(name, 0) / each + 1e-6) for name, each in worker.items()) for machine in machines)
