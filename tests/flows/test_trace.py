"""From an answer to its data, and from a row to the versions that learned from it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.cli import main
from evergreen.stages.engines import git_commits, git_tags

SPLITS = {"train": ["people.csv#0", "people.csv#17"], "test": ["people.csv#3"]}


def store(root: Path, folder: Path) -> str:
    """Put a folder into DVC's cache as DVC does, and return its hash."""
    entries = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        entries.append({"md5": put(root, path.read_bytes()), "relpath": path.relative_to(folder).as_posix()})
    return put(root, json.dumps(entries, sort_keys=True).encode(), ".dir")


def put(root: Path, content: bytes, ending: str = "") -> str:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    place = root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / f"{md5[2:]}{ending}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return md5 + ending


@pytest.fixture
def released(paths, tmp_path):
    """Two versions: the first one learned from row 17, the bytes of the second one are nowhere."""
    for split, origins in SPLITS.items():
        (tmp_path / "ready" / split).mkdir(parents=True)
        table = pa.table({"age": np.arange(len(origins)), "_origin": pa.array(origins).dictionary_encode()})
        pq.write_table(table, tmp_path / "ready" / split / "part-00000.parquet")
    for version, ready in (("v2.0.0", store(paths.root, tmp_path / "ready")), ("v2.1.0", "0" * 32 + ".dir")):
        lock = f"""schema: '2.0'
stages:
  preprocess@churn:
    cmd: x
    outs:
    - path: data/store/churn/ready
      md5: {ready}
  train@churn:
    cmd: x
    outs:
    - path: models/store/churn/candidate
      md5: {"ab" * 16}.dir
"""
        commit = git_commits.commit_texts(paths.root, {"dvc.lock": lock}, version)
        git_tags.create_tag(paths.root, f"churn@{version}", commit, "approved by ann: rightly so\n\nScores: {}\n")
    return paths


def test_a_row_is_followed_to_the_versions_that_held_it(released, capsys, monkeypatch):
    monkeypatch.chdir(released.root)
    assert main.main(["trace", "--row", "people.csv#17"]) == 0
    unknown, held, lost = capsys.readouterr().out.splitlines()
    assert unknown == "churn v1.0.0: its commit records no rows"
    assert held == "churn v2.0.0: 1 in train"
    assert lost.startswith("churn v2.1.0: .dvc/cache: the bytes 000")
    assert main.main(["trace", "--row", "people.csv"]) == 0
    assert "churn v2.0.0: 1 in test, 2 in train" in capsys.readouterr().out
    assert main.main(["trace", "--row", "people.csv#1"]) == 0
    assert "v2.0.0:" not in capsys.readouterr().out


def test_an_answer_is_followed_to_what_made_it(released, capsys, monkeypatch):
    monkeypatch.chdir(released.root)
    columns = {
        **{"request_id": ["r1", "r1", "r2"], "row": [0, 1, 0], "id": [None, "mine", None]},
        **{"time": pa.array([0, 0, 0], pa.timestamp("us", "UTC")), "version": ["v2.0.0"] * 3},
        **{"role": ["production"] * 3, "key": [""] * 3, "latency_ms": [1.0] * 3},
        **{"asked": [{"age": 1}] * 3, "answered": [{"prediction": "leaves"}] * 3},
    }
    day = released.root / ".evergreen" / "requests" / "churn" / "2026-01-01"
    day.mkdir(parents=True)
    pq.write_table(pa.table(columns), day / "a.parquet")
    assert main.main(["trace", "r1", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [row["row"] for row in value["answers"]] == [0, 1]
    assert value["versions"][0]["hashes"]["candidate"] == "ab" * 16 + ".dir"
    assert value["versions"][0]["message"].startswith("approved by ann")
    assert main.main(["trace", "mine"]) == 0
    said = capsys.readouterr().out
    assert "row 1 of r1, v2.0.0: {'prediction': 'leaves'}" in said
    assert "approved by ann: rightly so" in said
    assert main.main(["trace", "r3"]) == 2
    assert "no request 'r3' is in the log" in capsys.readouterr().err
    assert main.main(["trace"]) == 2
    assert "name an answer or a row" in capsys.readouterr().err
