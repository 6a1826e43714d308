"""One pass over shards: the same rows in the same places however many prepare them and wherever it was cut short."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from evergreen.core.config import build
from evergreen.core.errors import DataError
from evergreen.core.paths import Paths
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.split import SPLITS
from evergreen.data.prepared import QUARANTINED, read
from evergreen.data.spec import FeatureSpec
from evergreen.stages.artifacts import folder_version
from evergreen.stages.collect import manifest
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import dealt_splits, fit_spec, passes, raw_sample, shards, workers
from evergreen.stages.preprocess import stage as preprocess

ROWS = 2_000


@pytest.fixture
def small(monkeypatch):
    """Row groups of 50 rows and shards of 300, so that a few rows are many."""
    monkeypatch.setattr(manifest, "ROWS", 100)
    monkeypatch.setattr(shards, "ROWS", 300)


@pytest.fixture(autouse=True)
def above_the_bound(monkeypatch):
    """Rows go by their hash alone, as where they are too many to be dealt: so a class may have no training row."""
    monkeypatch.setattr(dealt_splits, "MAX_UNITS", 0)


def collected(root) -> Paths:
    draw, paths = np.random.default_rng(0), Paths(root, "t")
    lines = [f"{draw.normal():.4f},{'uvw'[i % 3]},{['yes', 'no', 'no'][i % 3]}" for i in range(ROWS)]
    lines[700], lines[1500] = "oops,u,yes", "1.0,u"  # one in the third shard, one in the sixth
    lines[1200] = "0.75,u,rare"  # it does not train
    (root / "t.csv").write_text("\n".join(["x,c,y", *lines]) + "\n")
    collect.run(CollectConfig(uri="t.csv"), paths)
    return paths


def prepare(paths, hands=1, monkeypatch=None, **wishes):
    if monkeypatch:
        monkeypatch.setattr(workers.os, "cpu_count", lambda: hands)
    preprocess.run(PreprocessConfig(**{"target": "y", "leakage_checks": "off", **wishes}), paths, task="classification")
    return folder_version(paths.ready)


def summary(paths):
    return json.loads((paths.ready / "summary.json").read_text())


@pytest.mark.slow
def test_any_number_of_hands_write_the_same_bytes(tmp_path, small, monkeypatch):
    paths = collected(tmp_path)
    assert len({prepare(paths, hands, monkeypatch) for hands in (1, 2, 3)}) == 1
    assert len(list((paths.ready / "train").glob("part-*.parquet"))) == 7
    assert not (paths.home / "preprocess" / "t").exists()


def test_shards_say_what_the_whole_does(tmp_path, monkeypatch):
    paths = collected(tmp_path)
    prepare(paths)
    tables, told = {name: read(paths.ready, name) for name in (*SPLITS, QUARANTINED)}, summary(paths)
    spec = FeatureSpec.load(paths.ready)
    monkeypatch.setattr(manifest, "ROWS", 100)
    monkeypatch.setattr(shards, "ROWS", 300)
    collected(tmp_path)
    prepare(paths)
    for name in SPLITS:
        assert read(paths.ready, name).equals(tables[name])
    for column in ("row", "reason", "origin"):  # what suits no split stands at the end of its shard
        assert set(read(paths.ready, QUARANTINED)[column].to_pylist()) == set(tables[QUARANTINED][column].to_pylist())
    assert summary(paths) == told
    assert FeatureSpec.load(paths.ready).target == spec.target
    assert told["quarantined"]["reasons"]["y: no training row has this class"] == 1
    assert told["quarantined"]["rows"] == 3


@pytest.mark.slow
def test_cut_short_anywhere_it_goes_on_with_what_is_finished(tmp_path, small, monkeypatch):
    paths = collected(tmp_path)
    whole, written = prepare(paths), shards._write_shard
    for stop in (0, 3, 6):
        asked = []

        def failing(shard, work, asked=asked, stop=stop):
            asked.append(shard.number)
            if len(asked) > stop:
                raise KeyboardInterrupt
            return written(shard, work)

        monkeypatch.setattr(shards, "_write_shard", failing)
        with pytest.raises(KeyboardInterrupt):
            prepare(paths, 1, monkeypatch)
        assert folder_version(paths.ready) == whole, "what was ready before is whole"
        again = []
        monkeypatch.setattr(
            shards, "_write_shard", lambda shard, work, again=again: again.append(0) or written(shard, work)
        )
        assert prepare(paths, 1, monkeypatch) == whole
        assert len(again) >= 7 - stop
        assert len(again) <= 7 - stop + 1  # and the shard with the class that no training row has


@pytest.mark.slow
def test_killed_before_the_last_step_nothing_is_prepared_again(tmp_path, small, monkeypatch):
    paths = collected(tmp_path)
    whole, spec = prepare(paths), fit_spec.fit_spec
    monkeypatch.setattr(fit_spec, "fit_spec", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(paths)
    monkeypatch.setattr(fit_spec, "fit_spec", spec)
    monkeypatch.setattr(shards, "_write_shard", lambda shard, work: 1 / 0)
    assert prepare(paths) == whole


@pytest.mark.slow
def test_other_wishes_begin_anew(tmp_path, small, monkeypatch):
    paths, written = collected(tmp_path), shards._write_shard
    monkeypatch.setattr(
        shards, "_write_shard", lambda shard, work: 1 / 0 if shard.number == 4 else written(shard, work)
    )
    with pytest.raises(ZeroDivisionError):
        prepare(paths, 1, monkeypatch, seed=1)
    monkeypatch.setattr(shards, "_write_shard", written)
    found = prepare(paths, seed=2)
    assert found == prepare(collected(tmp_path), seed=2)
    assert found != prepare(paths, seed=1)


def test_two_at_once_are_one(tmp_path, small, monkeypatch):
    from evergreen.core.errors import PipelineError

    paths = collected(tmp_path)
    begun, go = threading.Event(), threading.Event()
    units = raw_sample.raw_row_groups
    monkeypatch.setattr(raw_sample, "raw_row_groups", lambda folder: (begun.set(), go.wait(10), units(folder))[2])
    first = threading.Thread(target=prepare, args=[paths])
    first.start()
    begun.wait(10)
    with pytest.raises(PipelineError, match="is being prepared already"):
        prepare(paths)
    go.set()
    first.join()


@pytest.mark.slow
def test_of_many_rows_a_sample_is_fitted_that_no_order_changes(tmp_path, small, monkeypatch):
    paths = collected(tmp_path)
    prepare(paths)
    every = FeatureSpec.load(paths.ready)
    monkeypatch.setattr(passes, "FIT_ROWS", 400)
    monkeypatch.setattr("evergreen.stages.preprocess.fit_spec.FIT_ROWS", 400)
    some = [prepare(paths) and FeatureSpec.load(paths.ready)]
    monkeypatch.setattr(shards, "ROWS", 700)
    some += [prepare(paths) and FeatureSpec.load(paths.ready)]
    assert some[0] == some[1]
    assert some[0].inputs["number"].state["mean"] != every.inputs["number"].state["mean"]
    assert some[0].inputs["number"].state["mean"] == pytest.approx(every.inputs["number"].state["mean"], abs=0.15)
    assert some[0].target == every.target, "classes are counted over all training rows"


def test_a_damaged_shard_is_named(tmp_path, small):
    paths = collected(tmp_path)
    whole = prepare(paths)
    part = sorted(paths.raw.glob("part-*.parquet"))[7]
    data = bytearray(part.read_bytes())
    data[20:400] = bytes(380)
    part.write_bytes(data)
    with pytest.raises(DataError, match=r"a collected file is damaged .*; run the stage `collect` again") as error:
        prepare(paths)
    assert error.value.place == str(part)
    assert folder_version(paths.ready) == whole


@pytest.mark.slow
def test_a_full_disk_is_said_and_loses_nothing(tmp_path, small, monkeypatch):
    import errno

    from evergreen.core.errors import PipelineError
    from evergreen.data.parquet import RowGroupWriter

    paths = collected(tmp_path)
    whole, close = prepare(paths), RowGroupWriter.close

    def full(writer):
        if "part-00004" in writer.path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        close(writer)

    monkeypatch.setattr(RowGroupWriter, "close", full)
    with pytest.raises(PipelineError, match=r"the disk is full .*; make room and run again"):
        prepare(paths)
    assert folder_version(paths.ready) == whole
    monkeypatch.setattr(RowGroupWriter, "close", close)
    assert prepare(paths) == whole


def test_what_must_be_seen_whole_says_when_it_does_not_fit(tmp_path, monkeypatch):
    paths = Paths(tmp_path, "t")
    (tmp_path / "t.csv").write_text("t,y\n" + "".join(f"{1900 + i},{i % 11}.5\n" for i in range(100)))
    collect.run(CollectConfig(uri="t.csv"), paths)
    monkeypatch.setattr(raw_sample, "GROWTH", 1 << 28)
    with pytest.raises(
        DataError, match=r"all rows are needed at once \(the rows of a series .*memory_mb is 1,024"
    ) as error:
        preprocess.run(PreprocessConfig(target="y", time="t", window=5), paths, task="forecasting")
    assert error.value.place == "preprocess.memory_mb"


def test_too_little_memory_is_a_mistake():
    from evergreen.core.errors import PipelineError

    with pytest.raises(PipelineError, match="memory_mb is 10"):
        build(PreprocessConfig, {"target": "y", "memory_mb": 10}, "preprocess")


def test_what_the_whole_column_tells_holds_in_every_shard(tmp_path, small):
    """A comma before fractions is seen in some row groups alone; 1.234 is a thousand in the others, too."""
    paths = Paths(tmp_path, "t")
    fractions = [f'"{i % 7},25",{"uv"[i % 2]},no' for i in range(500)]
    thousands = [f"1.{100 + i % 800},{'uv'[i % 2]},yes" for i in range(500)]
    (tmp_path / "t.csv").write_text("\n".join(["x,c,y", *thousands, *fractions]) + "\n")
    collect.run(CollectConfig(uri="t.csv"), paths)
    prepare(paths, test_fraction=0.3, schema={"x": {"min": 0.2, "max": 2000}})
    held = read(paths.ready, "train").to_pydict()
    assert min(x for x, y in zip(held["x"], held["y"], strict=True) if y == "yes") >= 1100
    assert max(x for x, y in zip(held["x"], held["y"], strict=True) if y == "no") <= 6.25
    assert summary(paths)["quarantined"]["rows"] == 0
