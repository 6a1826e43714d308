"""Rows that are many: prepared by Ray's workers as by this process."""

import pytest

from evergreen.data.prepare.config import PreprocessConfig
from evergreen.stages.artifacts import folder_version
from evergreen.stages.preprocess import shards, workers
from evergreen.stages.preprocess import stage as preprocess
from tests.stages.many_rows import collected


def test_rays_workers_write_the_same_bytes(clone, monkeypatch):
    monkeypatch.setattr(shards, "ROWS", 5_000)
    paths, params = collected(clone, 40_000), PreprocessConfig(target="y", leakage_checks="off")
    preprocess.run(params, paths, task="classification")
    alone, by_ray = folder_version(paths.ready), []
    whole = workers._by_ray
    monkeypatch.setattr(workers, "use_ray", lambda rows, root: True)
    for hands in (1, 3):
        monkeypatch.setattr(workers, "_by_ray", lambda *given, n=hands: by_ray.append(n) or whole(*given[:3], n))
        preprocess.run(params, paths, task="classification")
        assert by_ray[-1] == hands
        assert folder_version(paths.ready) == alone


def test_a_mistake_found_by_a_worker_is_one_message(clone, monkeypatch):
    from evergreen.core.errors import DataError

    monkeypatch.setattr(workers, "use_ray", lambda rows, root: True)
    paths = collected(clone, 30_000)
    part = sorted(paths.raw.glob("part-*.parquet"))[0]
    data = bytearray(part.read_bytes())
    middle = len(data) // 4
    data[middle : middle + 2000] = bytes(2000)
    part.write_bytes(data)
    with pytest.raises(DataError, match="a collected file is damaged"):
        preprocess.run(PreprocessConfig(target="y", leakage_checks="off"), paths, task="classification")
