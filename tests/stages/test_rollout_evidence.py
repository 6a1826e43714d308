"""Who decides by requests is seldom wrong: simulated streams, and a log as replicas write it."""

from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.request_log import Entry, RequestLog
from evergreen.stages.monitor.rollout_evidence import Evidence, differ, loss
from evergreen.stages.monitor.sequential_test import compare, log_evidence
from evergreen.stages.operation import CanaryConfig

N_STREAMS, N_NUMBERS = 400, 3000
START = "2026-01-01T00:00:00+00:00"


def evidence(folder="/nowhere"):
    return Evidence(folder, "v1.0.0", "v2.0.0", START, CanaryConfig())


def simulate(random, n, *, errors=0.0, slower=0.2, other=0.1, worse=0.5, n_labels=None, has_labels=False):
    """What is found after n numbers of each stream, whose means are given."""
    found = evidence()
    found.has_labels = has_labels
    for name, mean in {"errors": errors, "latency": slower, "disagreement": other, "loss": worse}.items():
        count = n if name != "loss" or n_labels is None else n_labels
        found.streams[name] = (random.random(count) < mean).astype(float).tolist()
    return found.decide().verdict


@pytest.mark.parametrize("bound", [0.01, 0.3, 0.5])
def test_the_error_is_as_stated_however_often_one_looks(bound):
    random, limit = np.random.default_rng(1), np.log(20)
    for is_above in (True, False):  # the mean is the bound itself: the hardest case
        streams = (random.random((N_STREAMS, N_NUMBERS)) < bound).astype(float)
        wrong = np.mean([log_evidence(stream, bound, is_above=is_above) >= limit for stream in streams])
        assert wrong <= 0.05


@pytest.mark.parametrize(
    "worse", [{"errors": 0.012}, {"slower": 0.51}, {"other": 0.31, "n_labels": 0}, {"worse": 0.53}]
)
def test_a_worse_version_is_seldom_promoted(worse):
    random = np.random.default_rng(2)
    assert np.mean([simulate(random, N_NUMBERS, **worse) == "promote" for _ in range(80)]) <= 0.05


def test_an_equal_version_is_promoted_in_bounded_time_and_seldom_aborted():
    random = np.random.default_rng(3)
    ends = [simulate(random, 20_000) for _ in range(40)]
    assert ends.count("promote") / len(ends) >= 0.95
    ends = [simulate(random, 2000, errors=0.01, slower=0.5, other=0.3, worse=0.525) for _ in range(60)]
    assert ends.count("abort") <= 3
    assert simulate(random, 20) == ""


def test_what_mends_drift_disagrees_and_labels_decide_about_it():
    random = np.random.default_rng(5)
    waits = [simulate(random, 300, other=0.6, n_labels=n, has_labels=True) for n in (0, 20)]
    assert waits == ["", ""]
    ends = [simulate(random, 1000, other=0.6, worse=mean, has_labels=True) for mean in (0.3, 0.75)]
    assert ends == ["promote", "abort"]
    assert simulate(random, 300, other=0.6, slower=0.95, has_labels=True, n_labels=0) == "abort"


@pytest.mark.parametrize("much", [{"errors": 0.5}, {"slower": 0.95}, {"other": 0.9, "n_labels": 0}, {"worse": 0.9}])
def test_what_is_much_worse_is_aborted_soon(much):
    random = np.random.default_rng(4)
    assert [simulate(random, 100, **much) for _ in range(50)].count("abort") >= 48


def test_answers_and_losses_are_compared_by_their_kind():
    assert differ("a", "b", 9.0)
    assert differ(None, 1.0, 9.0)
    assert not differ(1.0, 1.4, 0.5)
    assert differ(1.0, float("nan"), 0.5)
    assert (loss("a", "a"), loss("a", "b"), loss(1.0, 3)) == (0.0, 1.0, 2.0)
    assert [compare(1, 2), compare(2, 2), compare(2, 1)] == [0.0, 0.5, 1.0]


def test_the_log_is_the_evidence_and_is_read_once(tmp_path):
    limits = DeployConfig().model_dump()
    replica, process = RequestLog(tmp_path, "one"), RequestLog(tmp_path, "two")
    after = datetime(2026, 1, 2, tzinfo=UTC).timestamp()

    def put(log, version, role, request, latency=0.01, moment=after, **answered):
        served, first = SimpleNamespace(version=version, limits=limits), -1 if "problem" in answered else 0
        about = (request, "", latency, 9, None, first, role, moment)
        log.put(Entry("churn", served, pa.table({"age": [1]}), Answers([[answered]]), *about))

    found = evidence(tmp_path / "churn")
    put(replica, "v1.0.0", "production", "old", moment=after - 9e6, prediction="no")
    put(replica, "v0.9.0", "production", "other version", prediction="no")
    for number in range(40):
        put(replica, "v1.0.0", "production", f"a{number}", prediction="yes")
        put(process, "v2.0.0", "shadow", f"a{number}", prediction="no" if number % 4 else "yes")
        put(process, "v2.0.0", "canary", f"b{number}", latency=0.5, prediction="yes")
        put(process, "v2.0.0", "pinned", f"c{number}", latency=0.5, prediction="yes")
    put(replica, "v2.0.0", "canary", "a1", problem="its process died")
    for log in (replica, process):
        log.flush()
    for _ in range(2):
        found.read()
        assert {name: (len(some), sum(some)) for name, some in found.streams.items()} == {
            "errors": (81, 1),
            "latency": (40, 40),
            "disagreement": (40, 30),
            "loss": (0, 0),
        }
    (tmp_path / "churn" / "labels").mkdir()
    labels = {"request_id": ["a0", "a1", "a2"], "row": [0, 0, 0], "label": ["yes", "yes", "no"]}
    pq.write_table(pa.table(labels), tmp_path / "churn" / "labels" / f"{int(after * 1e9):020d}.parquet")
    for _ in range(2):
        found.read()
        assert found.streams["loss"] == [0.5, 1.0, 0.0]
    decision = found.decide()
    assert decision.verdict == "abort"
    assert decision.why.startswith("worse: latency 1 of 40 (bound 0.5)")
    for log in (replica, process):
        log.close()
