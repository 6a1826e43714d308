"""A whole `evergreen run` with every engine: what a newcomer sees, does next, and ends, and what a strike leaves."""

import contextlib
import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path

import httpx
import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from benchmarks.chaos.cells import Cell, all_cells
from benchmarks.chaos.project import ChaosProject, load_rows
from benchmarks.chaos.run_cell import list_orphans, run_cell
from benchmarks.loop.story import Story
from evergreen.stages.pipeline import STAGES
from tests.slow.prefect_api import open_api

CELLS = [  # tests/slow/test_search.py and test_train.py strike the race, the search and the training
    Cell("validate", "Prefect"),
    Cell("collect", "SIGINT twice"),
    Cell("validate", "driver"),
    Cell("release", "driver"),
]
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Home:
    """A project in which nothing was done yet, and this code's Evergreen."""

    def __init__(self, folder: Path) -> None:
        self.project = ChaosProject(folder)
        self.root = self.project.root

    def evergreen(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = self.project.evergreen(*arguments)
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def in_terminal(self, *arguments: str) -> str:
        """All that a command writes to a terminal."""
        ours, theirs = pty.openpty()
        command = self.project.command(*arguments)
        variables = self.project.variables | {"TERM": "xterm", "COLUMNS": "120"}
        with subprocess.Popen(command, cwd=self.root, env=variables, stdin=theirs, stdout=theirs, stderr=theirs):
            os.close(theirs)
            chunks = []
            with contextlib.suppress(OSError):  # the other side is closed
                while chunk := os.read(ours, 65536):
                    chunks.append(chunk)
        os.close(ours)
        return b"".join(chunks).decode()

    def prefect(self, what: str, body: dict) -> list:
        """What this project's Prefect answers."""
        with open_api(self.root) as api:
            return api.post(f"/api/{what}/filter", json=body).raise_for_status().json()

    def processes(self) -> list[psutil.Process]:
        """All that were started for this project and live."""
        found = []
        for process in psutil.process_iter():
            try:
                place = f"{process.cmdline()} {process.cwd()} {process.environ().get('RAY_AUTH_TOKEN_PATH', '')}"
                if str(self.root) in place and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("flow"))
    yield home
    home.evergreen("stop", check=False)
    assert list_orphans(home.project) == []


@pytest.fixture(scope="module")
def first(home):
    """The lines that a newcomer's first run leaves on a terminal, and those that it wrote over."""
    shown = []
    home.project.prepare(lambda *words: shown.append(home.in_terminal(*words)))
    (text,) = shown
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).strip() for line in re.split(r"[\r\n]+", text)]
    live = [line for line in lines if line[:1] in SPINNER]
    return [line for line in lines if line and line not in live], live


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return load_rows()


def test_a_run_says_what_it_did_and_nothing_else(first):
    kept, live = first
    text = "\n".join(kept)
    done = [line.split()[1] for line in kept if line.startswith("✓")]
    assert done == [*STAGES, "release", "deploy"], text
    assert "tiny v1.0.0 is released" in text
    assert "/report.html" in text
    assert {line.split()[1] for line in live if line} <= {*done, "start"}
    assert len(kept) <= 20, text
    facts = "answer|scores|report|data|runs|docs|ask it|stop"
    own = re.compile(rf"✓|evergreen: released, but git lacks |tiny v1.0.0 |({facts})  ")
    assert [line for line in kept if not own.match(line)] == []


def test_the_record_of_a_pipeline_is_small(home, first):
    assert len((home.root / "dvc.lock").read_bytes()) < 5000


def test_its_curl_line_works(first):
    (line,) = [line[line.index("curl ") :] for line in first[0] if "curl " in line]
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["version"] == "v1.0.0"
    assert answer["predictions"][0]["prediction"] in ("benign", "malignant")


def test_prefect_has_the_record(home, first):
    runs = home.prefect("flow_runs", {})
    assert [(run["name"], run["state_type"], run["tags"]) for run in runs] == [("tiny: by hand", "COMPLETED", ["tiny"])]
    keys = {artifact["key"] for artifact in home.prefect("artifacts", {})}
    assert {f"tiny-{part}" for part in ("leaderboard", "trials", "metrics")} <= keys


def test_prefects_artifacts_link_to_the_reports(home, first):
    artifacts = {artifact["key"]: artifact["data"] for artifact in home.prefect("artifacts", {})}
    for part in ("preprocess", "report"):
        link = re.search(r"\((http://127\.0\.0\.1:\d+/reports/[^)]+)\)", artifacts[f"tiny-{part}"])[1]
        assert httpx.get(link).status_code == 401
        with open_api(home.root) as api:
            page = api.get(link)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"<svg" in page.content


def test_nothing_is_stale_the_second_time(home, first):
    done = home.evergreen("run", "tiny", "--json")
    value = json.loads(done.stdout)
    assert (value["ran"], value["version"]) == (False, "v1.0.0")
    assert value["answer"]["predictions"]
    assert len(home.prefect("flow_runs", {})) == 1  # Prefect was not troubled


def test_where_nothing_is_stale_no_engine_is_imported(home, first, monkeypatch):
    home.evergreen("stage", "report", "tiny")  # draws the same bytes again
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    done = home.evergreen("run", "tiny", "--json")
    assert json.loads(done.stdout)["ran"] is False
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "evergreen.flows.update" in imported
    assert {"dvc", "gto", "pandas", "prefect", "ray", "sklearn", "torch"} & imported == set()


def test_what_changed_runs_again_and_the_rest_is_skipped(home, first):
    file = home.root / "pipelines" / "tiny.yaml"
    file.write_text(file.read_text().replace("validate: {}", "validate: {bootstrap_samples: 200}"))
    done = home.evergreen("run", "tiny")
    lines = {line.split()[1]: line for line in done.stderr.splitlines() if line.startswith("✓")}
    fresh = [stage for stage, line in lines.items() if "up to date" in line]
    assert fresh == ["collect", "preprocess", "select", "tune", "train", "deploy"]
    assert "tiny v1.0.0" in done.stdout


def test_runs_that_a_dead_process_left_are_crashed(home, first):
    flow = home.prefect("flows", {})[0]["id"]
    body = {"flow_id": flow, "state": {"type": "RUNNING"}, "tags": ["tiny"], "name": "left"}
    with open_api(home.root) as api:
        api.post("/api/flow_runs/", json=body).raise_for_status()
    home.evergreen("release", "tiny")
    assert {run["name"]: run["state_type"] for run in home.prefect("flow_runs", {})}["left"] == "CRASHED"


def test_predict_answers_csv_and_parquet_alike(home, first, table, tmp_path):
    pq.write_table(table, tmp_path / "in.parquet")
    pa.csv.write_csv(table, tmp_path / "in.csv")
    home.evergreen("predict", "tiny", str(tmp_path / "in.parquet"), "--output", str(tmp_path / "out.parquet"))
    home.evergreen("predict", "tiny", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.csv"))
    answered = pq.read_table(tmp_path / "out.parquet")
    assert answered.column_names == [*table.column_names, "prediction", "p_benign", "p_malignant"]
    assert answered.select(table.column_names).equals(table)
    right = sum(a == b for a, b in zip(answered["prediction"].to_pylist(), table["diagnosis"].to_pylist(), strict=True))
    assert right / len(table) > 0.9
    assert pa.csv.read_csv(tmp_path / "out.csv")["prediction"].to_pylist() == answered["prediction"].to_pylist()


def test_a_bad_file_is_one_line_and_leaves_what_was_there(home, first, table, tmp_path):
    words = [str(value) for value in table["mean_radius"].to_pylist()]
    words[2] = "wide"
    pa.csv.write_csv(table.set_column(0, "mean_radius", pa.array(words)), tmp_path / "text.csv")
    output = tmp_path / "out.csv"
    output.write_text("before")
    done = home.evergreen("predict", "tiny", str(tmp_path / "text.csv"), "--output", str(output), check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "text.csv#4: mean_radius: not a number" in done.stderr
    assert output.read_text() == "before"


def test_the_loop_closes_at_a_persons_word_and_no_process_shows_the_key_of_the_server(home, first):
    """The story of `make loop`, upon this project; each step raises where it shows another thing."""
    told, key = [], (home.root / ".evergreen" / "prefect.key").read_text()

    def ask(*arguments):
        return json.loads(home.evergreen(*arguments, "--json").stdout)

    def listen(line: str) -> None:
        told.append(line.split()[2])
        assert not [one for one in home.processes() if key.partition(":")[2] in " ".join(one.cmdline())]
        if told[-1] == "retrain":
            value = ask("run", "tiny")
            assert (value["version"], value["ran"], value["waits"]) == ("v1.0.0", False, True)
            assert "evergreen approve tiny, or evergreen reject tiny" in home.evergreen("status", "tiny").stdout
        if told[-1] == "prove":
            said = home.evergreen("reject", "tiny", "--reason", "too early").stdout
            assert said.startswith("tiny v1.1.0 is rejected; v1.0.0")
            value = ask("run", "tiny")
            assert (value["version"], value["ran"], value["waits"]) == ("v1.0.0", False, False)
            assert value["rejected"]["why"] == "too early"

    Story(home.project, listen, is_short=True).tell()
    assert told == ["ask", "label", "notice", "retrain", "prove", "approve", "hear", "trace"]
    (described,) = ask("status", "tiny")["pipelines"]
    assert (described["released"], described["served"], described["waits"]) == ("v1.1.0", "v1.1.0", False)
    assert (described["decision"]["what"], described["decision"]["why"]) == ("Approved", "the canary holds")
    (line,) = [line for line in (home.root.parent / "watch.txt").read_text().splitlines() if "cat " in line]
    printed = subprocess.run(["sh", "-c", f"{line.rpartition(': ')[2]}; echo"], capture_output=True, text=True)
    assert printed.stdout == f"{key}\n"
    assert key not in (home.root.parent / "watch.txt").read_text()
    engines = [one for one in home.processes() if "raylet" in one.name() or "ray_node" in " ".join(one.cmdline())]
    assert [one.environ().get("PREFECT_API_AUTH_STRING") for one in engines] == [None] * len(engines) != []


def test_a_retired_pipeline_is_not_served_until_it_is_brought_back(home, first):
    assert json.loads(home.evergreen("serve", "--json").stdout)["pipelines"] == {"tiny": "v1.1.0"}
    assert json.loads(home.evergreen("retire", "tiny", "--yes", "--json").stdout)["served"] == {}
    assert json.loads(home.evergreen("status", "--json").stdout)["endpoint"] is None
    value = json.loads(home.evergreen("rollback", "tiny", "v1.0.0", "--json").stdout)
    assert (value["version"], value["pipelines"]) == ("v1.0.0", {"tiny": "v1.0.0"})


def test_stop_leaves_no_process(home, first):
    assert home.processes()
    done = home.evergreen("stop", "--json")
    assert json.loads(done.stdout)["ended"] == ["endpoint and Ray", "Prefect"]
    limit = time.monotonic() + 5
    while home.processes() and time.monotonic() < limit:
        time.sleep(0.1)
    assert home.processes() == []
    assert json.loads(home.evergreen("stop", "--json").stdout)["ended"] == []


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_after_a_strike_the_next_run_ends_with_the_same_weights(home, first, cell):
    """Four cells of `make chaos`: a run is struck in one stage."""
    assert cell in all_cells()
    assert run_cell(home.project, cell, seed=0) == []
