"""Prefect's server answers who has the project's key, from its own pages, and nobody else."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from evergreen.core import processes
from evergreen.core.errors import PipelineError
from evergreen.flows.server import Server, bind_free_port
from tests.slow.prefect_api import open_api

STRANGER = 65534  # nobody's number
STEP = {"prefect.deployments.steps.run_shell_script": {"script": "touch /tmp/evergreen-was-here"}}
PAGE = "<!doctype html><svg></svg><script>alert(1)</script>"
FAMILIES = (
    *("/api/admin/version", "/api/admin/settings", "/api/csrf-token?client=x", "/api/hello", "/api/collections/x"),
    *("/api/docs", "/api/redoc", "/api/openapi.json", "/api/static/prefect-logo-mark-gradient.png", "/api/metrics"),
    *("/docs", "/redoc", "/openapi.json", "/reports/", "/reports/models/store/rain/report/report.html"),
)
FILTERS = ("deployments", "flows", "flow_runs", "task_runs", "work_pools", "variables", "block_documents", "artifacts")
SOCKETS = ("events/in", "events/out", "logs/out", "task_runs/subscriptions/scheduled", "work_pools/x/workers/connect")


HOLD = """
import pathlib, sys, time
from evergreen.core import processes
with processes.exclusive_lock(pathlib.Path(sys.argv[1]), ""):
    print(flush=True)
    time.sleep(60)
"""


def say_wrong_key(address: str, **options: str) -> None:
    with connect(address, **options) as socket:
        socket.send(json.dumps({"type": "auth", "token": "wrong"}))
        socket.recv(timeout=10)
        socket.recv(timeout=10)


def evergreen(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a project, as a person runs it, whose shell knows another Prefect."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PREFECT_"))}
    foreign = {"API_KEY": "pnu_1", "API_AUTH_STRING": "a:b", "SERVER_API_AUTH_STRING": "a:b"}
    foreign |= {"SERVER_API_BASE_PATH": "/open", "SERVER_API_CSRF_PROTECTION_ENABLED": "false", "PROFILE": "cloud"}
    command = [sys.executable, "-m", "evergreen.cli.main", *words]
    return subprocess.run(
        command,
        cwd=root,
        env=kept | {f"PREFECT_{name}": value for name, value in foreign.items()},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A project whose server was started by a command."""
    folder = tmp_path_factory.mktemp("server") / "project"
    for name in ("pipelines", "models/store/rain/report", "data/store/rain/described", "data/store/rain/ready"):
        (folder / name).mkdir(parents=True)
    (folder / "dvc.yaml").touch()
    (folder / "models/store/rain/report/report.html").write_text(PAGE)
    (folder / "models/store/rain/report/curve.svg").write_text("<svg/>")
    (folder / "data/store/rain/described/report.html").write_text(PAGE)
    (folder / "data/store/rain/ready/spec.json").write_text("{}")
    done = evergreen(folder, "prefect", "deployment", "ls")
    assert done.returncode == 0, done.stderr
    yield folder
    Server(folder).stop()


@pytest.fixture(scope="module")
def url(root):
    return Server(root).url


@pytest.mark.parametrize("path", FAMILIES)
def test_each_family_of_addresses_wants_the_key(url, path):
    for key in (None, ("evergreen", "wrong"), ("", ""), ("evergreen", "ключ")):
        assert httpx.get(url + path, auth=key).status_code == 401
        assert httpx.request("DELETE", url + path, auth=key).status_code == 401
    assert httpx.get(url + path, headers={"Authorization": "Bearer é".encode()}).status_code == 401


@pytest.mark.parametrize("path", FILTERS)
def test_nothing_is_listed_without_the_key(url, root, path):
    assert httpx.post(f"{url}/api/{path}/filter", json={}).status_code == 401
    with open_api(root) as api:
        assert api.post(f"/api/{path}/filter", json={}).status_code == 200
        del api.headers["Prefect-Csrf-Token"]
        assert api.post(f"/api/{path}/filter", json={}).status_code == 403


@pytest.mark.parametrize("path", SOCKETS)
def test_a_websocket_wants_the_key(url, path):
    address = f"ws{url[4:]}/api/{path}"
    for options in ({}, {"subprotocols": ["prefect"]}):
        with pytest.raises((ConnectionClosed, InvalidStatus)):
            say_wrong_key(address, **options)
    with pytest.raises(InvalidStatus) as refused:
        connect(address, origin="http://evil.example", subprotocols=["prefect"])
    assert refused.value.response.status_code == 403


def test_a_stranger_upserts_no_deployment(url, root):
    body = {"name": "x", "flow_id": "00000000-0000-0000-0000-000000000000", "pull_steps": [STEP]}
    assert httpx.post(f"{url}/api/flows/", json={"name": "x"}).status_code == 401
    assert httpx.post(f"{url}/api/deployments/", json=body).status_code == 401
    with open_api(root) as api:
        assert api.post("/api/deployments/filter", json={}).json() == []


def test_a_foreign_page_gets_nothing_even_with_the_key(url, root):
    with open_api(root) as api:
        for origin in ("http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:8000"):
            for path in ("/api/admin/version", "/", "/ui-settings"):
                answer = api.get(path, headers={"Origin": origin})
                assert (answer.status_code, [name for name in answer.headers if "access-control" in name]) == (403, [])
            assert api.post("/api/flows/", json={"name": "x"}, headers={"Origin": origin}).status_code == 403
            preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answer = api.options("/api/flows/", headers=preflight)
            assert "access-control-allow-origin" not in answer.headers
        framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}
        assert api.get("/", headers=framed).status_code == 403
        followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
        assert api.get("/", headers=followed).status_code in (200, 307)
        answer = api.get("/api/admin/version", headers={"Origin": url})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, url)


def test_a_name_that_leads_here_is_refused(url, root):
    port = url.rpartition(":")[2]
    with open_api(root) as api:
        for host in (f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1", f"127.0.0.1.nip.io:{port}", f"[::1]:{port}"):
            for path in ("/", "/api/health", "/api/admin/version", "/reports/models/store/rain/report/report.html"):
                answer = api.get(path, headers={"Host": host})
                assert (answer.status_code, answer.text.count("\n")) == (400, 1)
        assert api.get("/api/admin/version", headers={"Host": f"localhost:{port}"}).status_code == 200
        assert api.get("/runs", headers={"Host": f"localhost:{port}"}).headers["location"] == f"{url}/runs"


def test_prefects_page_is_there_for_everybody_and_asks_for_the_key(url):
    page = httpx.get(f"{url}/", headers={"Accept": "text/html"}, follow_redirects=True)
    assert (page.status_code, "<script" in page.text) == (200, True)
    settings = httpx.get(f"{url}/ui-settings").json()
    assert (settings["auth"], settings["csrf_enabled"], settings["api_url"]) == ("BASIC", True, f"{url}/api")
    assert httpx.get(f"{url}/api/health").json() is True


def test_reports_are_pages_without_scripts(url, root):
    assert httpx.get(f"{url}/reports/").headers["www-authenticate"].startswith("Basic")
    with open_api(root) as api:
        for path in ("models/store/rain/report/report.html", "data/store/rain/described/report.html"):
            answer = api.get(f"/reports/{path}")
            assert (answer.status_code, answer.text) == (200, PAGE)
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert api.get("/reports/models/store/rain/report/curve.svg").headers["content-type"] == "image/svg+xml"
        for path in (
            *("", "dvc.yaml", ".evergreen/prefect.key", "data/store/rain/ready/spec.json", "models/store/rain/report/"),
            *("models/store/rain/report/..%2F..%2F..%2F..%2Fdvc.yaml", "models/store/..%2Frain/report/report.html"),
            *("models/store/rain/report/%2Fetc%2Fpasswd", "models/store/rain/report/x.html%00", "a" * 5000),
        ):
            assert api.get(f"/reports/{path}").status_code == 404, path


def test_prefects_commands_work_with_its_address_and_key(root):
    done = evergreen(root, "prefect", "flow-run", "ls")
    assert (done.returncode, done.stdout.strip()) == (0, "No flow runs found.")
    assert evergreen(root, "prefect", "variable", "set", "answer", "42").returncode == 0
    assert "42" in evergreen(root, "prefect", "variable", "get", "answer").stdout
    assert evergreen(root, "prefect", "no-such-command").returncode != 0


def test_the_key_is_in_no_list_of_processes_and_no_log(root):
    key = (root / ".evergreen" / "prefect.key").read_text().partition(":")[2]
    lines = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    assert any(str(root) in line for line in lines)
    assert not any(key in line for line in lines)
    kept = [path for path in (root / ".evergreen").rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    assert [path.name for path in kept] == ["prefect.key"]


def test_nobody_else_reads_the_key(root, url):
    private = [root / ".evergreen", root / ".evergreen" / "prefect"]
    assert [path.stat().st_mode & 0o777 for path in private] == [0o700, 0o700]
    assert (root / ".evergreen" / "prefect.key").stat().st_mode & 0o777 == 0o600
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    other = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    pid = json.loads((root / ".evergreen" / "prefect.json").read_text())["pid"]
    for path in (root / ".evergreen" / "prefect.key", root / ".evergreen/prefect/prefect.db", f"/proc/{pid}/environ"):
        done = subprocess.run([*other, "cat", str(path)], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Permission denied" in done.stderr
    curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json", "-d", "{}"]
    for path in ("/api/deployments/", "/api/flow_runs/filter"):
        assert subprocess.run([*other, *curl, url + path], capture_output=True, text=True).stdout == "401"


@pytest.fixture
def other(tmp_path, monkeypatch):
    """The server of another project, in a process whose environment is put back."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("evergreen.flows.server.FIRST_PORT", 4301)  # as where another project has the first one
    before = dict(os.environ)
    server = Server(tmp_path)
    yield server
    server.stop()
    os.environ.clear()
    os.environ.update(before)


def test_a_server_of_before_that_has_no_key_is_replaced(other):
    home = other.home.parent
    home.mkdir()
    with bind_free_port(4400) as listener:
        port = listener.getsockname()[1]
    older = subprocess.Popen([sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], cwd=home)
    processes.save_pid(other.file, older.pid, url=f"http://127.0.0.1:{port}")
    with processes.exclusive_lock(home / "locks" / "rain", "no"):  # of this process: nobody else needs it
        other.start()
    assert older.wait(timeout=10) is not None
    assert httpx.get(f"{other.wait()}/ui-settings").json()["api_url"] == f"{other.url}/api"  # Prefect's page asks it
    assert httpx.get(f"{other.wait()}/api/admin/version").status_code == 401


def test_a_deleted_key_is_made_anew_unless_somebody_needs_the_server(other):
    other.start()
    first, before = other.key, other.wait()
    other.key_file.unlink()
    command = [sys.executable, "-c", HOLD, str(other.home.parent / "locks" / "rain")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as busy:
        busy.stdout.readline()
        with pytest.raises(PipelineError, match=r"rain needs it.*evergreen stop"):
            other.start()
        busy.kill()
    assert other.url == before
    other.start()
    assert other.key != first
    user, key = other.key.split(":")
    assert httpx.get(f"{other.wait()}/api/admin/version", auth=(user, key)).status_code == 200
    other.key_file.write_text("")
    assert other.stop()
    assert not other.stop()


def test_old_runs_leave_its_record(root):
    with open_api(root) as api:
        services = api.get("/api/admin/settings").raise_for_status().json()["server"]["services"]
    assert services["db_vacuum"]["enabled"] is True
    assert services["db_vacuum"]["retention_period"] == "P90D"


def test_a_spoiled_database_is_said_in_one_line_and_begun_anew_once_it_is_away(root, other):
    """Junk, and a real one that is cut short: nothing starts, and `stop` works."""
    for name in ("pipelines", ".evergreen/prefect"):
        (other.root / name).mkdir(parents=True)
    (other.root / "dvc.yaml").touch()
    database = other.home / "prefect.db"
    with closing(sqlite3.connect(Server(root).home / "prefect.db")) as live, closing(sqlite3.connect(database)) as copy:
        live.backup(copy)
    whole = database.read_bytes()
    for spoiled in (b"no database" * 999, whole[:300], whole[: len(whole) // 2]):
        database.write_bytes(spoiled)
        done = evergreen(other.root, "prefect", "deployment", "ls")
        assert done.returncode == 2, done.stderr
        line = rf"evergreen: {re.escape(str(database))}: Prefect's database is damaged \(.+\); move it away: .+\n"
        assert re.fullmatch(line, done.stderr), done.stderr
        assert not other.file.exists()
        assert evergreen(other.root, "stop").returncode == 0
    database.rename(database.with_suffix(".old"))
    other.start()
    assert httpx.get(f"{other.wait()}/api/health").json() is True
