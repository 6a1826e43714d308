"""Locks and records of processes: two at once, a dead holder, a number that somebody else got."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from evergreen.core import processes
from evergreen.core.errors import PipelineError
from evergreen.core.files import write_json
from evergreen.core.processes import start_time_s
from evergreen.flows.server import FIRST_PORT, bind_free_port

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from evergreen.core.processes import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "held"):
    print("held", flush=True)
    time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
time.sleep(60)
"""


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_the_second_gets_one_clear_message_and_a_dead_holder_none(tmp_path):
    lock = tmp_path / "locks" / "digits"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n"
    assert processes.lock_owner(lock) == first.pid
    with (
        pytest.raises(PipelineError, match=rf"digits is already running \(process {first.pid}\); wait"),
        processes.exclusive_lock(lock, "digits is already running"),
    ):
        pass
    assert not processes.was_killed(lock)
    first.kill()
    first.wait()
    assert processes.lock_owner(lock) is None
    assert processes.was_killed(lock)
    with processes.exclusive_lock(lock, "digits is already running"):
        pass


def test_who_holds_a_lock_is_ended_by_it(tmp_path):
    lock = tmp_path / "locks" / "digits"
    assert not processes.terminate_owner(lock)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert processes.terminate_owner(lock)
    assert not psutil.pid_exists(holder.pid)
    with processes.exclusive_lock(lock, "held"):
        assert not processes.terminate_owner(lock)  # this process stays


def test_a_lock_is_waited_for(tmp_path):
    lock = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD.replace("sleep(60)", "sleep(0.3)"), str(lock)]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n"
    with pytest.raises(PipelineError), processes.exclusive_lock(lock, "held", timeout_s=0.05):
        pass
    with processes.exclusive_lock(lock, "held", timeout_s=20):
        assert lock.read_text() == f"{os.getpid()}\n"
    assert not processes.was_killed(lock)
    first.wait()


def test_a_record_finds_its_process_until_it_ends(tmp_path, sleeper):
    record = tmp_path / "server.json"
    processes.save_pid(record, sleeper.pid, url="http://here")
    assert processes.load_live(record)["url"] == "http://here"
    assert processes.terminate_tree(record)
    assert sleeper.poll() is not None
    assert not processes.terminate_tree(record)


@pytest.mark.skipif(not psutil.LINUX, reason="simulates Linux's account of its start")
def test_a_process_is_found_again_after_the_clock_was_set(tmp_path, sleeper, monkeypatch):
    record = tmp_path / "server.json"
    processes.save_pid(record, sleeper.pid)
    boot = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 3600)
    assert psutil.Process(sleeper.pid).create_time() > time.time()
    assert processes.load_live(record)
    assert processes.terminate_tree(record)
    assert sleeper.poll() is not None


def test_a_number_that_somebody_else_got_is_left_alone(tmp_path, sleeper):
    record = tmp_path / "server.json"
    write_json(record, {"pid": sleeper.pid, "started": start_time_s(psutil.Process(sleeper.pid)) - 100})
    assert processes.load_live(record) is None
    assert not processes.terminate_tree(record)
    assert sleeper.poll() is None


@pytest.mark.slow
def test_children_end_with_their_parent(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT])
    while not (children := psutil.Process(parent.pid).children()):
        time.sleep(0.01)
    processes.save_pid(tmp_path / "parent.json", parent.pid)
    assert processes.terminate_tree(tmp_path / "parent.json")
    assert not children[0].is_running()


def test_a_taken_port_moves_on():
    with bind_free_port(FIRST_PORT) as first, bind_free_port(FIRST_PORT) as second:
        assert second.getsockname()[1] > first.getsockname()[1]


def test_what_is_launched_begins_only_once_it_is_on_disk(tmp_path, monkeypatch):
    record, began = tmp_path / "server.json", tmp_path / "began"
    command = [sys.executable, "-c", f"import time; open({str(began)!r}, 'w'); time.sleep(60)"]
    process = processes.launch(record, command, {"url": "http://here"})
    while not began.exists():
        time.sleep(0.01)
    facts = processes.load_live(record)
    assert facts["pid"] == process.pid
    assert facts["url"] == "http://here"
    assert os.getsid(process.pid) == process.pid
    processes.end_session(facts)
    assert processes.load_live(record) is None
    began.unlink()

    def killed(*_args, **_facts):
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "save_pid", killed)
    with pytest.raises(KeyboardInterrupt):
        processes.launch(record, command, {})
    time.sleep(0.5)
    assert not began.exists()


@pytest.mark.slow
def test_a_session_ends_whole_also_without_its_leader(tmp_path):
    orphan = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    leader = subprocess.Popen([sys.executable, "-c", f"{orphan}; import time; time.sleep(60)"], start_new_session=True)
    record = processes.describe_process(leader.pid)
    while not (children := psutil.Process(leader.pid).children()):
        time.sleep(0.01)
    processes.end_session(record | {"started": record["started"] - 100})  # somebody else's number
    assert leader.poll() is None
    leader.kill()
    while psutil.Process(leader.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    processes.end_session(record)
    assert not psutil.pid_exists(children[0].pid) or children[0].status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("spoiled", ["[]", "", "{", '{"pid": "1", "started": 2}', '{"pid": 1, "started": []}', None])
def test_what_was_launched_under_a_spoiled_record_is_found_and_ended(tmp_path, spoiled):
    record = tmp_path / "engine.json"
    process = processes.launch(record, [sys.executable, "-c", "import time; time.sleep(600)"], {"url": "x"})
    if spoiled is None:
        record.unlink()
        record.mkdir()
    else:
        record.write_text(spoiled)
    assert processes.load_live(record) is None
    assert processes.terminate_tree(record)
    process.wait(10)
    assert not psutil.pid_exists(process.pid)
    assert not record.exists()
    assert not processes.terminate_tree(record)
