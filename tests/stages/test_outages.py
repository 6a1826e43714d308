"""What happens when Ray dies, as far as that needs no Ray: somebody else's process plays it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from evergreen.core.errors import OutageError, PipelineError
from evergreen.core.files import write_json
from evergreen.core.processes import describe_process
from evergreen.stages.deploy import serve_api
from evergreen.stages.engines import ray_node, ray_watch


@pytest.fixture
def ray(tmp_path):
    """A process that the project's record calls its Ray."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    facts = {"address": "127.0.0.1:1", "parts": [describe_process(process.pid)]}
    write_json(ray_node.place(tmp_path), describe_process(os.getpid()) | facts)
    yield process
    process.kill()
    process.wait()


def end(process):
    process.kill()
    process.wait()


def test_who_waits_for_a_dead_ray_is_told_at_once(tmp_path, ray):
    before = signal.getsignal(signal.SIGUSR2)
    threading.Timer(0.3, ray.kill).start()
    start = time.monotonic()
    with pytest.raises(OutageError, match="Ray died"), ray_watch.raise_outage(tmp_path):
        time.sleep(50)
    assert time.monotonic() - start < 30
    assert signal.getsignal(signal.SIGUSR2) == before


def test_a_question_that_ray_never_answers_can_be_left(tmp_path, ray):
    assert ray_watch.ask(lambda: 7) == 7
    threading.Timer(0.3, ray.kill).start()
    with pytest.raises(OutageError, match="Ray died"), ray_watch.raise_outage(tmp_path):
        ray_watch.ask(threading.Event().wait)
    with pytest.raises(OutageError, match="does not answer"):
        ray_watch.ask(lambda: int("no number"))


@pytest.mark.slow
def test_who_hears_no_interruption_is_ended_with_the_same_words(tmp_path, ray):
    code = (
        "import signal, sys, threading; from pathlib import Path; from evergreen.stages.engines import ray_watch\n"
        "ray_watch.AGAIN_SECONDS = 0.1\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])\n"
        "with ray_watch.raise_outage(Path(sys.argv[1])): print('waits', flush=True); threading.Event().wait()"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waits\n"
        end(ray)
        said = process.stderr.read()
    assert process.returncode == 2
    assert said.startswith("evergreen: ")
    assert "Ray died; run it again" in said


def test_what_a_dead_ray_leads_to_is_an_outage_and_no_result(tmp_path, ray):
    def fail():
        end(ray)
        raise RuntimeError("its own words")

    with pytest.raises(OutageError, match="Ray died"), ray_watch.raise_outage(tmp_path):
        fail()


def test_without_a_ray_of_this_project_an_error_is_somebody_elses(tmp_path):
    with pytest.raises(RuntimeError, match="no Ray"), ray_watch.raise_outage(tmp_path):
        raise RuntimeError("no Ray was up before")


def test_a_ray_that_died_before_anybody_waits_for_it_is_told_at_once(tmp_path, ray):
    end(ray)
    with pytest.raises(OutageError, match="Ray died"), ray_watch.raise_outage(tmp_path):
        time.sleep(600)
    (tmp_path / "cluster.yaml").write_text("address: 10.0.0.1:6379\nstorage: /shared\n")
    with ray_watch.raise_outage(tmp_path):  # a cluster's Ray is another one
        pass


def test_a_ray_that_died_unnoticed_is_no_success(tmp_path, ray):
    with pytest.raises(OutageError), ray_watch.raise_outage(tmp_path):
        end(ray)


def test_sigterm_ends_what_waits_and_is_heard_outside(tmp_path, ray):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(KeyboardInterrupt), ray_watch.raise_outage(tmp_path):
            time.sleep(50)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with ray_watch.raise_outage(tmp_path), contextlib.suppress(KeyboardInterrupt):  # a block that catches it
            time.sleep(50)
        with pytest.raises(KeyboardInterrupt), ray_watch.raise_outage(tmp_path):
            raise KeyboardInterrupt  # Ctrl-C stays what it is
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM, signal.SIGTERM]


def test_other_errors_stay_what_they_are(tmp_path, ray):
    from ray.exceptions import ActorDiedError

    with pytest.raises(PipelineError, match="a mistake"), ray_watch.raise_outage(tmp_path):
        raise PipelineError("a mistake")
    with pytest.raises(OutageError, match="a process of Ray's died"), ray_watch.raise_outage(tmp_path):
        raise ActorDiedError()
    with ray_watch.raise_outage(tmp_path):
        pass


def test_a_ray_that_has_not_started_or_lost_a_part_is_not_up(tmp_path, ray):
    assert ray_node.load_up(tmp_path)
    record = ray_node.load_up(tmp_path)
    assert not ray_node.is_up({name: value for name, value in record.items() if name != "address"})
    end(ray)
    assert ray_node.load_up(tmp_path) is None


@pytest.mark.slow
def test_a_step_is_tried_again_after_an_outage_alone():
    from evergreen.flows.steps import is_transient  # Prefect takes seconds to import

    class State:
        def __init__(self, error):
            self.error = error

        def result(self, raise_on_failure):
            return self.error

    assert is_transient(None, None, State(OutageError("Ray died")))
    assert not is_transient(None, None, State(PipelineError("a mistake")))


def test_serves_port_stays_until_serve_ends():
    """Also where its first start failed and left no application."""
    running = {"controller_info": {"actor_id": "1"}, "http_options": {"port": 8005}, "applications": {}}
    assert serve_api.served_port(running) == 8005
    assert serve_api.served_port({"controller_info": {}, "applications": {}}) is None
