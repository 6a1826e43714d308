"""Of a source that grows only what is new is read and written; nothing is lost, nothing comes twice."""

import os
import sqlite3
import time

import pyarrow.parquet as pq
import pytest

from evergreen.core.config import build
from evergreen.core.errors import DataError, PipelineError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.core.workdir import exclusive_workdir
from evergreen.data.sources import _files as data_files
from evergreen.stages.artifacts import folder_version
from evergreen.stages.collect import manifest as parts
from evergreen.stages.collect import snapshot
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess.raw_sample import raw_row_groups, read_raw


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path, "t")


def run(paths, uri, **settings):
    return collect.run(CollectConfig(uri=uri, **settings), paths)


def rows(paths, column="a"):
    return sorted(read_raw(raw_row_groups(paths.raw), 1024, "a test")[column].to_pylist())


def found(paths):
    return sorted(read_raw(raw_row_groups(paths.raw), 1024, "a test")["n"].to_pylist(), key=str)


def bytes_of(paths):
    return {path.name: path.read_bytes() for path in paths.raw.glob("part-*")}


def csv(paths, name, *values):
    path = paths.root / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a,b\n" + "".join(f"{value},x\n" for value in values))


def test_only_new_files_are_read_and_written(paths, monkeypatch):
    csv(paths, "1.csv", 1, 2, 3)
    csv(paths, "2.csv", 4, 5)
    assert run(paths, "in") == {"rows": 5, "uri": "in", "files new": 2}
    before = bytes_of(paths)
    csv(paths, "3.csv", 6)
    read = []
    monkeypatch.setattr(
        snapshot, "write_parts", lambda *given, **how: read.append(given[3]) or parts.write_parts(*given, **how)
    )
    assert run(paths, "in") == {"rows": 6, "uri": "in", "files new": 1}
    assert [[file.name for file in group] for group in read] == [["3.csv"]]
    assert rows(paths) == list("123456")
    after = bytes_of(paths)
    assert {name: after[name] for name in before} == before
    manifests = [pq.read_table(paths.raw / f"files-0000{number}.parquet").to_pylist() for number in (0, 1)]
    found = [[(one["file"], one["offset"], one["rows"]) for one in manifest] for manifest in manifests]
    assert found == [[("1.csv", 0, 3), ("2.csv", 3, 2)], [("3.csv", 0, 1)]]
    assert not collect.has_changed(CollectConfig(uri="in"), paths)


def test_files_that_changed_or_are_gone_are_followed(paths):
    for name in "123":
        csv(paths, f"{name}.csv", f"{name}0", f"{name}1")
    run(paths, "in")
    csv(paths, "1.csv", 7)
    (paths.root / "in" / "2.csv").unlink()
    assert collect.has_changed(CollectConfig(uri="in"), paths)
    assert run(paths, "in") == {"rows": 3, "uri": "in", "files changed": 1, "files gone": 1}
    assert rows(paths) == ["30", "31", "7"]
    (paths.root / "in" / "3.csv").unlink()
    assert run(paths, "in", on_source_delete="keep")["rows"] == 3
    csv(paths, "1.csv", 8, 9)
    run(paths, "in", on_source_delete="keep")
    assert rows(paths) == ["30", "31", "8", "9"]


def test_small_additions_do_not_become_ever_more_parts(paths):
    for number in range(20):
        csv(paths, f"{number:02}.csv", number)
        run(paths, "in")
    assert len(bytes_of(paths)) <= 5
    assert rows(paths) == sorted(map(str, range(20)))


@pytest.mark.parametrize("lost", [None, b"", b"PAR1 half of it"])
def test_a_killed_collection_goes_on_with_the_parts_it_finished(paths, monkeypatch, lost):
    monkeypatch.setattr(snapshot, "ROWS", 2)  # files a group
    for number in range(6):
        csv(paths, f"{number}.csv", number)
    written = []

    def dies(*given, **how):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append([file.name for file in given[3]])
        return parts.write_parts(*given, **how)

    monkeypatch.setattr(snapshot, "write_parts", dies)
    with pytest.raises(KeyboardInterrupt):
        run(paths, "in")
    assert not paths.raw.exists()
    if lost is not None:  # the power went as well, and with it what says whose rows the second part holds
        noted = paths.home / "collect" / "t" / "files-00001.parquet"
        noted.write_bytes(lost) if lost else noted.unlink()
    csv(paths, "0.csv", 10)  # it changed meanwhile, so what was read of it does not hold
    again = []
    monkeypatch.setattr(
        snapshot,
        "write_parts",
        lambda *given, **how: again.append([f.name for f in given[3]]) or parts.write_parts(*given, **how),
    )
    run(paths, "in")
    assert written == [["0.csv", "1.csv"], ["2.csv", "3.csv"]]
    assert again == (
        [["0.csv", "1.csv"], ["4.csv", "5.csv"]] if lost is None else [[f"{n}.csv", f"{n + 1}.csv"] for n in (0, 2, 4)]
    )
    assert rows(paths) == sorted(["10", "1", "2", "3", "4", "5"])
    assert not (paths.home / "collect" / "t").exists()


def test_another_schema_is_one_clear_error_and_loses_nothing(paths):
    csv(paths, "1.csv", 1)
    run(paths, "in")
    before = folder_version(paths.raw)
    (paths.root / "in" / "2.csv").write_text("a,c\n1,2\n")
    with pytest.raises(DataError, match="'c' is new, 'b' is missing"):
        run(paths, "in")
    assert folder_version(paths.raw) == before


@pytest.fixture
def shop(paths):
    with sqlite3.connect(paths.root / "shop.db") as database:
        database.execute("CREATE TABLE orders (id INTEGER, at TEXT, price REAL)")

    def insert(*orders):
        with sqlite3.connect(paths.root / "shop.db") as database:
            database.executemany("INSERT INTO orders VALUES (?, ?, ?)", orders)

    return insert


URI = "sqlite:shop.db"


def test_rows_beyond_the_watermark_are_added(paths, shop):
    shop((1, "2026-01-01", 1.0), (2, "2026-01-02", 2.0), (3, None, 3.0))
    assert run(paths, URI, watermark="at")["new"] == 3
    assert not collect.has_changed(CollectConfig(uri=URI, watermark="at"), paths)
    assert run(paths, URI, watermark="at") == {"rows": 3, "uri": URI}
    shop((4, "2026-01-02", 4.0), (5, "2026-01-03T10:00:00+02:00", 5.0), (6, None, 6.0))
    assert collect.has_changed(CollectConfig(uri=URI, watermark="at"), paths)
    assert run(paths, URI, watermark="at") == {"rows": 6, "uri": URI, "new": 3}
    assert rows(paths, "id") == [1, 2, 3, 4, 5, 6]
    assert read_json(paths.raw / "source.json")["covered"] == {"from": None, "to": "2026-01-03T08:00:00+00:00"}
    shop((7, "2026-01-02T23:30:00-10:00", 7.0))  # a later moment that sorts before, as text
    assert run(paths, URI, watermark="at")["new"] == 1


def test_late_rows_come_within_their_time_and_are_counted_beyond(paths):
    def write(*numbers):
        (paths.root / "t.csv").write_text("n,b\n" + "".join(f"{number},x\n" for number in numbers))

    write(10, 20, 20)  # two rows may say the same
    run(paths, "t.csv", watermark="n")
    write(10, 20, 20, 15, 12, 30)
    assert run(paths, "t.csv", watermark="n", allowed_lateness=6) == {
        "rows": 5,
        "uri": "t.csv",
        "new": 2,
        "late": 1,
        "too late": 1,
    }
    assert rows(paths, "n") == ["10", "15", "20", "20", "30"]
    write(40)  # an export that holds the last rows alone
    assert run(paths, "t.csv", watermark="n", allowed_lateness=6)["rows"] == 6


def test_a_row_mended_where_it_stands_comes_when_it_is_asked_for_again_and_no_other_twice(paths):
    def write(*lines):
        (paths.root / "t.csv").write_text("\n".join(["n,b", *lines, ""]))

    write("10,x", "20", "30,x", "40")
    assert run(paths, "t.csv", watermark="n")["rows"] == 4
    write("12,x", "20,y", "30,x", "40")  # one changed, one was mended, one is as bad as it was
    settings = {"watermark": "n", "since": 0}
    assert run(paths, "t.csv", **settings)["rows"] == 4
    for _ in range(2):
        collect.run(CollectConfig(uri="t.csv", **settings), paths, faulty=True)
        assert [row for row in found(paths) if row] == ["10", "20", "30"]
        assert len(found(paths)) == 4


def test_a_range_is_filled_backwards(paths, shop):
    shop(*((day, f"2026-01-{day:02}", 1.0) for day in range(1, 31)))
    run(paths, URI, watermark="at", since="2026-01-20", until="2026-01-25")
    assert rows(paths, "id") == [20, 21, 22, 23, 24]
    run(paths, URI, watermark="at", since="2026-01-10", until="2026-01-25")
    assert rows(paths, "id") == list(range(10, 25))
    assert run(paths, URI, watermark="at")["new"] == 15
    assert rows(paths, "id") == list(range(1, 31))


def test_of_a_key_the_newest_row_stays(paths, shop):
    shop((1, "2026-01-01", 1.0), (1, "2026-01-01", 1.0), (2, "2026-01-05", 2.0), (2, "2026-01-03", 9.0))
    found = run(paths, URI, watermark="at", id_columns=["id"])
    assert (found["rows"], found["repeated"], found["replaced"]) == (2, 1, 1)
    shop((1, "2026-01-06", 5.0), (None, "2026-01-06", 0.0), (None, "2026-01-07", 0.0))
    found = run(paths, URI, watermark="at", id_columns=["id"])
    assert (found["new"], found["replaced"]) == (3, 1)
    assert rows(paths, "price") == [0.0, 0.0, 2.0, 5.0]


def test_deletions_are_followed_where_that_is_asked_for(paths, shop):
    shop(*((day, f"2026-01-{day:02}", 1.0) for day in range(1, 6)))
    run(paths, URI, watermark="at", id_columns=["id"])
    with sqlite3.connect(paths.root / "shop.db") as database:
        database.execute("DELETE FROM orders WHERE id < 3")
    assert run(paths, URI, watermark="at", id_columns=["id"])["rows"] == 5
    assert run(paths, URI, watermark="at", id_columns=["id"], on_source_delete="follow") == {
        "rows": 3,
        "uri": URI,
        "deleted": 2,
    }


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"allowed_lateness": "2d"}, "allowed_lateness needs watermark"),
        ({"since": 3}, "since needs watermark"),
        ({"watermark": "at", "allowed_lateness": "soon"}, "'soon' is not a valid allowed_lateness"),
        ({"watermark": "at", "since": "yesterday"}, "the text 'yesterday' is not a time"),
        ({"watermark": "at", "on_source_delete": "follow"}, "on_source_delete: follow needs id_columns"),
    ],
)
def test_a_contradiction_is_named(settings, says):
    with pytest.raises(PipelineError, match=says) as caught:
        build(CollectConfig, {"uri": "t.csv", **settings}, "collect")
    assert caught.value.fix


def test_two_collections_at_once_are_one(paths):
    csv(paths, "1.csv", 1)
    with (
        exclusive_workdir(paths, "collect", "collected"),
        pytest.raises(PipelineError, match="is being collected already"),
    ):
        run(paths, "in")


@pytest.mark.parametrize("now", [10**9, 10**20])
def test_a_clock_that_jumps_hides_no_change(paths, monkeypatch, now):
    """What is noted of a file is compared with the file, never with the clock."""
    csv(paths, "1.csv", 1)
    monkeypatch.setattr(data_files.time, "time_ns", lambda: now)
    run(paths, "in")
    csv(paths, "1.csv", 2)
    os.utime(paths.root / "in" / "1.csv", (1, 1))  # written long before what was collected, says its time
    assert collect.has_changed(CollectConfig(uri="in"), paths)
    run(paths, "in")
    assert rows(paths) == ["2"]


def test_a_file_is_read_again_only_if_something_about_it_changed(paths, monkeypatch):
    read = []
    scan = data_files.FileCache.scan
    monkeypatch.setattr(data_files.FileCache, "scan", lambda self, paths: read.extend(paths) or scan(self, paths))
    csv(paths, "1.csv", 1)

    def times_read(after_seconds):
        monkeypatch.setattr(data_files.time, "time_ns", lambda: started + after_seconds * 10**9)
        read.clear()
        collect.has_changed(CollectConfig(uri="in"), paths)
        return len([path for path in read if str(path).endswith(".csv")])

    started = time.time_ns()
    run(paths, "in")
    assert times_read(1) == 1  # it may have changed again within the tick of its clock
    assert times_read(10) == 1
    assert times_read(10) == 0


def small_files(folder, kind, names):
    import io

    import numpy as np
    from PIL import Image

    from evergreen.data.kinds.sound import wav

    for name in names:
        path = folder / ("a" if name % 2 else "b") / f"{name}{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(np.full((4, 4), name, np.uint8)).save(buffer, "PNG")
        sound = (
            wav.encode_wav(np.zeros(8, np.float32), 8000) if kind == ".wav" and hasattr(wav, "write_parts") else b"RIFF"
        )
        path.write_bytes({".png": buffer.getvalue(), ".txt": f"text {name}".encode(), ".wav": sound}[kind])


@pytest.mark.parametrize("kind", [".png", ".txt", ".wav"])
def test_small_files_are_packed_and_only_the_new_are_read(paths, kind, monkeypatch):
    small_files(paths.root / "in", kind, range(40))
    run(paths, "in")
    before = bytes_of(paths)
    assert len(before) == 1
    read = []
    monkeypatch.setattr(
        snapshot,
        "write_parts",
        lambda *given, **how: read.extend(f.name for f in given[3]) or parts.write_parts(*given, **how),
    )
    small_files(paths.root / "in", kind, range(40, 42))
    assert run(paths, "in")["files new"] == 2
    assert sorted(read) == [f"a/41{kind}", f"b/40{kind}"]
    assert before.items() <= bytes_of(paths).items()
    table = read_raw(raw_row_groups(paths.raw), 1024, "a test")
    assert sorted(table["_origin"].to_pylist()) == sorted(f"{'a' if n % 2 else 'b'}/{n}{kind}" for n in range(42))
    assert set(table["label"].to_pylist()) == {"a", "b"}


def test_files_without_rows_before_others_hide_no_change_of_types(paths, monkeypatch):
    monkeypatch.setattr(snapshot, "ROWS", 1)  # files a group
    (paths.root / "in").mkdir(exist_ok=True)
    for name, text in (("0", ""), ("1", '{"n": 1}\n'), ("2", '{"n": "x"}\n')):
        (paths.root / "in" / f"{name}.jsonl").write_text(text)
    with pytest.raises(DataError, match="column 'n' is string here and was int64"):
        run(paths, "in")


def test_another_reader_reads_all_again_but_never_a_stream(paths, shop, monkeypatch):
    csv(paths, "1.csv", 1)
    run(paths, "in")
    csv(paths, "2.csv", 2)
    run(paths, "in")
    (paths.root / "in" / "2.csv").unlink()
    monkeypatch.setattr("evergreen.data.sources.csv.CsvSource.VERSION", 99)
    assert run(paths, "in", on_source_delete="keep")["files changed"] == 1
    assert rows(paths) == ["1", "2"]
    assert "files changed" not in run(paths, "in", on_source_delete="keep")
    shop((1, "2026-01-01", 1.0))
    run(paths, URI, watermark="at")
    monkeypatch.setattr("evergreen.data.sources.sqlite.SqliteSource.VERSION", 2)
    assert "new" not in run(paths, URI, watermark="at")  # what it gave once it may not hold any more
