"""The stage deals rows to exact shares, remembers where they went, and finds that again wherever it lies."""

import json
import shutil

import numpy as np
import pytest

from evergreen.core.config import build
from evergreen.core.paths import Paths
from evergreen.data.prepare import assignment
from evergreen.data.prepare.assignment import Assignment
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepared import SPLITS, read
from evergreen.stages.artifacts import folder_version
from evergreen.stages.collect import manifest
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import changes, dealt_splits, shards
from evergreen.stages.preprocess import stage as preprocess

DRAW = np.random.default_rng(0)
ROWS = [f"{DRAW.normal():.7f},{'uvw'[i % 3]},p{i % 40},{'yes' if i % 8 == 0 else 'no'}" for i in range(400)]
WAYS = {"identity": {}, "group": {"group": "who"}, "key": {"id_columns": ["who"]}}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Row groups of 50 rows and shards of 150, so that a few rows are many."""
    monkeypatch.setattr(manifest, "ROWS", 100)
    monkeypatch.setattr(shards, "ROWS", 150)


def prepare(root, lines, *, task="classification", **wishes) -> Paths:
    root.mkdir(exist_ok=True)
    (root / "t.csv").write_text("\n".join(["x,c,who,y", *lines]) + "\n")
    paths = Paths(root, "t")
    collect.run(CollectConfig(uri="t.csv"), paths)
    config = {"target": "y", "leakage_checks": "off", **wishes}
    preprocess.run(build(PreprocessConfig, config, "preprocess"), paths, task=task)
    return paths


def places(paths: Paths) -> dict[str, str]:
    return {row: name for name in SPLITS for row in map(str, read(paths.ready, name)["_id"].to_pylist())}


def shares(paths: Paths, word: str) -> list[int]:
    told = json.loads((paths.ready / "summary.json").read_text())
    return [told["classes"][name].get(word, 0) for name in SPLITS]


def test_every_class_has_its_shares_in_the_first_version_and_the_next(tmp_path):
    paths = prepare(tmp_path, ROWS[:250])
    before = places(paths)
    rare = sum(line.endswith("yes") for line in ROWS[:250])
    assert np.abs(np.array(shares(paths, "yes")) - rare * np.array([0.6, 0.2, 0.2])).max() < 1
    paths = prepare(tmp_path, ROWS[::-1])
    assert before.items() <= places(paths).items()
    assert (shares(paths, "yes"), shares(paths, "no")) == ([30, 10, 10], [210, 70, 70])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_no_row_moves_when_rows_come_go_and_return(tmp_path, way):
    seen = {}
    for lines in (ROWS[:200], ROWS[120:330], ROWS[::-1], ROWS[50:300], ROWS):
        for row, split in places(prepare(tmp_path, lines, **WAYS[way])).items():
            assert seen.setdefault(row, split) == split
    if way == "group":
        groups = [set(read(Paths(tmp_path, "t").ready, name)["_group"].to_pylist()) for name in SPLITS]
        assert [len(one) for one in groups] == [24, 8, 8]


def test_the_order_of_rows_and_the_size_of_shards_do_not_count(tmp_path, monkeypatch):
    found = [places(prepare(tmp_path / "a", ROWS)), places(prepare(tmp_path / "b", ROWS[::-1]))]
    monkeypatch.setattr(shards, "ROWS", 10_000)
    monkeypatch.setattr(manifest, "ROWS", 10_000)
    paths = prepare(tmp_path / "c", ROWS)
    assert found == [places(paths)] * 2
    assert len(list((paths.ready / "train").iterdir())) == 1


def test_numbers_are_spread_by_their_size(tmp_path):
    paths = prepare(tmp_path, [line.rpartition(",")[0] + f",{i}" for i, line in enumerate(ROWS)], task="regression")
    for name, share in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
        tenths = np.bincount(read(paths.ready, name)["y"].to_numpy().astype(int) // 40)
        assert tenths.tolist() == [40 * share] * 10


def test_where_no_row_is_named_to_validate_an_exact_share_does(tmp_path):
    lines = [line.replace(f",p{i % 40},", f",{'test' if i % 5 == 0 else 'train'},") for i, line in enumerate(ROWS)]
    paths = prepare(tmp_path, lines[:200], split_column="who")
    before = places(paths)
    assert len(read(paths.ready, "validation")) == 32
    paths = prepare(tmp_path, lines, split_column="who")
    assert before.items() <= places(paths).items()
    assert len(read(paths.ready, "validation")) == 64


@pytest.mark.slow
def test_another_seed_or_share_deals_anew_and_a_split_by_time_keeps_the_record(tmp_path):
    first = places(prepare(tmp_path, ROWS))
    lines = [line.replace(f",p{i % 40},", f",{i},") for i, line in enumerate(ROWS)]
    prepare(tmp_path, lines, time="who")
    assert places(prepare(tmp_path, ROWS)) == first
    assert places(prepare(tmp_path, ROWS, seed=1)) != first
    paths = prepare(tmp_path, ROWS, test_fraction=0.4)
    assert len(read(paths.ready, "test")) == 160


@pytest.mark.slow
def test_rows_that_a_hash_split_before_stay_where_they_are(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(dealt_splits, "recall_splits", lambda reader, *_: (reader, []))  # as before rows were dealt
        paths = prepare(tmp_path, ROWS[:300])
    before, version = places(paths), folder_version(paths.ready)
    assert not (paths.described / assignment.FILE).exists()
    assert shares(paths, "yes") != [22, 8, 8]
    assert folder_version(prepare(tmp_path, ROWS[:300]).ready) == version, "an upgrade trains nothing again"
    paths = prepare(tmp_path, ROWS)
    assert before.items() <= places(paths).items()
    assert len(Assignment.read(paths.described / assignment.FILE).units) == len(set(ROWS))


@pytest.mark.slow
def test_without_a_record_the_rows_that_are_ready_stay_and_else_the_same_are_dealt_alike(tmp_path):
    prepare(tmp_path, ROWS[:250])
    paths = prepare(tmp_path, ROWS)
    before, version = places(paths), folder_version(paths.ready)
    (paths.described / assignment.FILE).unlink()
    assert folder_version(prepare(tmp_path, ROWS).ready) == version
    assert before.items() <= places(prepare(tmp_path, [*ROWS, "9.5,u,p1,no"])).items()
    shutil.rmtree(paths.ready)
    shutil.rmtree(paths.described)
    anew = folder_version(prepare(tmp_path, ROWS).ready)
    assert anew == folder_version(prepare(tmp_path / "other", ROWS).ready)


@pytest.mark.parametrize("moment", ["write_description", "_swap"])
@pytest.mark.slow
def test_killed_midway_the_record_is_whole_and_it_ends_as_if_it_never_was(tmp_path, monkeypatch, moment):
    prepare(tmp_path / "whole", ROWS[:250])
    whole = folder_version(prepare(tmp_path / "whole", ROWS).ready)
    paths = prepare(tmp_path / "killed", ROWS[:250])
    before, record = places(paths), (paths.described / assignment.FILE).read_bytes()
    with monkeypatch.context() as patch:
        if moment == "_swap":  # the record lies there, the rows do not yet
            describe = changes.write_description
            patch.setattr(
                "evergreen.stages.preprocess.publish.write_description", lambda *given: describe(*given) and 1 / 0
            )
        else:
            patch.setattr("evergreen.stages.preprocess.publish.write_description", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(tmp_path / "killed", ROWS)
    assert places(paths) == before
    assert ((paths.described / assignment.FILE).read_bytes() == record) == (moment == "write_description")
    assert folder_version(prepare(tmp_path / "killed", ROWS).ready) == whole


@pytest.mark.slow
def test_cut_short_while_rows_are_dealt_it_goes_on(tmp_path, monkeypatch):
    whole, write = folder_version(prepare(tmp_path / "whole", ROWS).ready), shards._write_shard
    for stop in range(1, 6):  # shards of the first turn and the second
        written = []

        def failing(shard, work, written=written, stop=stop):
            tally = write(shard, work)
            written.append((shard.number, work.turn))
            return 1 / 0 if len(written) == stop else tally  # its parts lie there, its counts do not

        with monkeypatch.context() as patch:
            patch.setattr(shards, "_write_shard", failing)
            patch.setattr("evergreen.stages.preprocess.workers.os.cpu_count", lambda: 1)
            with pytest.raises(ZeroDivisionError):
                prepare(tmp_path / str(stop), ROWS)
        assert folder_version(prepare(tmp_path / str(stop), ROWS).ready) == whole
    assert written[-1][1] == 1


@pytest.mark.slow
def test_above_the_bound_the_hash_alone_decides_and_known_rows_stay(tmp_path, monkeypatch):
    before = places(prepare(tmp_path, ROWS[:100]))
    for module in (assignment, dealt_splits):
        monkeypatch.setattr(module, "MAX_UNITS", 300)
    paths = prepare(tmp_path, ROWS)
    after = places(paths)
    assert before.items() <= after.items()
    stored = Assignment.read(paths.described / assignment.FILE)
    assert (len(stored.units), stored.is_full) == (100, True)
    assert after == places(prepare(tmp_path, ROWS[::-1]))
    fewer = places(prepare(tmp_path, ROWS[:200]))
    assert fewer.items() <= after.items(), "full stays full, or rows that the hash placed would move"
