"""What stands beside the version in production: each step is a tag, and the tags alone say it. Real git."""

import re
import shlex
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from gto.api import show

from evergreen.cli import main
from evergreen.core.errors import VersionError
from evergreen.flows import challenge
from evergreen.flows.canary import judge, watch_rollout
from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.request_log import Entry, RequestLog
from evergreen.stages.engines import challengers, decisions, git_tags, registration, versions
from evergreen.stages.engines.challengers import Rollout
from evergreen.stages.monitor.rollout_evidence import Decision
from evergreen.stages.operation import CanaryConfig, Operation

ROOT = Path(__file__).parents[2]
WATCHED = Operation(canary=CanaryConfig())


def rollout(paths):
    git_tags.tag_prefix.cache_clear()
    return challengers.rollouts(paths.root).get("churn", Rollout())


@pytest.fixture
def canary(paths, monkeypatch):
    """The candidate, registered as v1.1.0, answers a tenth of the callers."""
    monkeypatch.setattr(versions, "_say_notes", lambda *_: None)  # the project has no DVC repository
    assert challengers.start(paths, None, "canary", 0.1, "seems better") == "v1.1.0"
    return paths


def test_each_step_is_a_tag_that_gto_reads_and_that_says_who_and_why(canary):
    decision = decisions.decisions(canary.root)["churn"]
    assert (decision["what"], decision["who"], decision["why"]) == ("Deployed", "Ada <ada@example.org>", "seems better")
    assert [one["version"] for one in show(str(canary.root), "churn#canary")] == ["v1.1.0"]
    now = rollout(canary)
    assert (now.version, now.role, now.share, now.pins) == ("v1.1.0", "canary", 0.1, {})
    challengers.pin(canary, "shop", "v1.0.0")
    challengers.pin(canary, "kiosk 7", "v1.1.0")
    assert rollout(canary).pins == {"shop": "v1.0.0", "kiosk 7": "v1.1.0"}
    challengers.pin(canary, "shop", "")
    assert challengers.promote(canary, "it held") == "v1.1.0"
    assert versions.released(canary.root) == {"churn": "v1.1.0"}
    assert rollout(canary) == Rollout(pins={"kiosk 7": "v1.1.0"})
    tags = subprocess.run(["git", "tag", "--list"], cwd=canary.root, capture_output=True, text=True).stdout.split()
    assert [name.partition("#")[2] for name in tags if "#" in name] == [
        *("canary#2", "pin!#5", "pin#3", "pin#4", "production#1", "production#6"),
    ]


def test_the_tags_are_all_that_another_machine_needs(canary, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "clone"
    subprocess.run(["git", "clone", "-q", canary.root, other], check=True)
    assert challengers.rollouts(other) == challengers.rollouts(canary.root)


def test_no_verdict_releases_what_is_tried_or_was_aborted(canary):
    notes: list[str] = []
    versions.release(canary, "better", notes.append)
    assert versions.released(canary.root) == {"churn": "v1.0.0"}
    assert "v1.1.0 was made a challenger, so v1.0.0 stays in production" in notes[0]
    assert challengers.abort(canary, "it is slow", who="the flow canary") == "v1.1.0"
    assert rollout(canary) == Rollout()
    assert decisions.rejection(canary)["who"] == "the flow canary"
    versions.release(canary, "better", notes.append)
    assert versions.released(canary.root) == {"churn": "v1.0.0"}
    challengers.start(canary, "v1.1.0", "shadow")
    assert (rollout(canary).role, decisions.rejection(canary)) == ("shadow", None)


def test_a_rejection_and_a_release_end_it(canary):
    decisions.reject(canary, "no")
    assert rollout(canary) == Rollout()
    challengers.start(canary, "v1.1.0", "canary", 0.5)
    versions.release(canary, "by hand", again=True)
    assert rollout(canary) == Rollout()


def test_a_mistake_is_one_line_and_no_tag(canary):
    for problem, call in {
        r"no version v9\.0\.0; its versions: v1\.0\.0, v1\.1\.0": lambda: challengers.start(canary, "v9.0.0", "shadow"),
        r"v1\.0\.0 is in production": lambda: challengers.start(canary, "v1.0.0", "canary", 0.1),
        r"'shop' is not pinned; pinned: nobody": lambda: challengers.pin(canary, "shop", ""),
        r"no version v3\.0\.0": lambda: challengers.pin(canary, "shop", "v3.0.0"),
    }.items():
        with pytest.raises(VersionError, match=problem):
            call()
    with pytest.raises(VersionError, match="no challenger"):  # another one stands there by now
        challengers.abort(canary, since="2020-01-01T00:00:00+00:00")
    assert registration.read_tags(canary).count == 2


def test_status_tells_what_is_beside(canary, capsys):
    challengers.pin(canary, "shop", "v1.0.0")
    assert main.main(["status"]) == 0
    assert re.search(r"v1\.0\.0, \d+ \w+, canary v1\.1\.0 for 10%", capsys.readouterr().out)
    assert main.main(["status", "churn"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"beside +canary v1\.1\.0 for 10%, since 20", shown)
    assert re.search(r"pinned +shop v1\.0\.0", shown)
    assert "decided   pinned v1.0.0 by Ada" in shown


def test_the_guide_s_commands_move_the_version_and_each_is_a_tag(canary, capsys, monkeypatch):
    """Without the endpoint, which tests/slow/test_deploy.py has."""
    monkeypatch.setattr(challenge, "check_answers", lambda *_: None)
    monkeypatch.setattr(challenge, "deploy_released", lambda *_: {})
    guide = (ROOT / "docs" / "guides" / "serving.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"test_challengers.py runs it -->\n```sh\n(.*?)```", guide, re.DOTALL)
    monkeypatch.setattr(versions, "checkout", lambda *_: canary.candidate)
    said = []
    for line in block.splitlines():
        assert main.main(shlex.split(line)[1:]) == 0, line
        said.append(capsys.readouterr().out)
    assert said[0].startswith("churn v1.1.0 gets all requests, and nobody its answers\n")
    assert said[1].startswith("churn v1.1.0 answers 10% of callers\n")
    assert said[3:] == [
        "churn v1.1.0 is aborted; v1.0.0 answers all\n",
        "churn v1.1.0 answers 25% of callers\n  evergreen promote churn, or evergreen abort churn, ends that\n",
        "churn v1.1.0 is in production\n",
        "shop is answered by v1.0.0\n",
        "shop is not pinned any more\n",
    ]
    assert registration.read_tags(canary).count == 2 + 7


@pytest.mark.parametrize(
    "wrong", ["--canary 10", "--canary 0%", "--canary 101%", "", "--shadow --canary 5%", "--pin x"]
)
def test_a_command_that_says_no_share_and_no_caller_is_told_how(canary, capsys, wrong):
    assert main.main(["deploy", "churn", *wrong.split()]) == 2
    assert re.search(r"10%|KEY=VERSION", capsys.readouterr().err)
    assert registration.read_tags(canary).count == 2


@pytest.fixture
def log(canary, monkeypatch):
    """Writes requests to the log as replicas do, after the canary began; nothing is deployed."""
    monkeypatch.setattr(challenge, "deploy_released", lambda *_: {})
    replica = RequestLog(canary.requests.parent, "one")
    after = datetime.fromisoformat(rollout(canary).since).timestamp() + 1

    def write(**answered):
        for version, role, request in (
            ("v1.0.0", "production", "a"),
            ("v1.1.0", "canary", "b"),
            ("v1.1.0", "shadow", "a"),
        ):
            served = SimpleNamespace(version=version, limits=DeployConfig().model_dump())
            answer = {"prediction": 1.0} if role == "production" else answered
            for number in range(600):
                about = (f"{request}{number}", "", 0.01, 9, None, -1 if "problem" in answer else 0, role, after)
                replica.put(Entry("churn", served, pa.table({"age": [1]}), Answers([[answer]]), *about))
        replica.close()

    return write


def test_the_requests_promote_a_canary_that_is_as_good_and_abort_one_that_fails(canary, log, capsys):
    log(prediction=1.0)
    said = watch_rollout(canary, WATCHED)
    assert said.startswith("v1.1.0: promote (not worse: errors 0 of 1,200 (bound 0.01), latency 0 of 600")
    assert versions.released(canary.root) == {"churn": "v1.1.0"}
    decision = decisions.decisions(canary.root)["churn"]
    assert (decision["what"], decision["who"]) == ("Promoted", "the flow canary")
    assert watch_rollout(canary, WATCHED) == "it was ended by other hands"


def test_a_canary_that_fails_is_aborted_and_one_that_differs(canary, log):
    log(problem="its process died")
    assert watch_rollout(canary, WATCHED).startswith("v1.1.0: abort (worse: errors 1 of 1,200")
    assert versions.released(canary.root) == {"churn": "v1.0.0"}
    assert decisions.rejection(canary)["what"] == "Aborted"


class TooLateError(Exception):
    """Ends a loop that goes on."""


class Tomorrow(datetime):
    @classmethod
    def now(cls, zone=None):
        return datetime.now(zone) + timedelta(hours=25)


def stop(_):
    raise TooLateError


@pytest.mark.parametrize(("on_timeout", "tag"), [("promote", "production"), ("abort", "canary!"), ("ask", "")])
def test_too_little_traffic_is_what_the_yaml_says(canary, monkeypatch, capsys, on_timeout, tag):
    monkeypatch.setattr(challenge, "deploy_released", lambda *_: {})
    operation = Operation(canary=CanaryConfig(on_timeout=on_timeout))
    with pytest.raises(TooLateError):
        watch_rollout(canary, operation, pause=stop)
    assert registration.read_tags(canary).count == 2  # it is not over yet
    monkeypatch.setattr("evergreen.flows.canary.datetime", Tomorrow)
    with suppress(TooLateError):
        watch_rollout(canary, operation, pause=stop)
    tags = subprocess.run(["git", "tag", "--list"], cwd=canary.root, capture_output=True, text=True).stdout.split()
    assert [name for name in tags if name.endswith("#3")] == ([f"churn#{tag}#3"] if tag else [])
    if not tag:
        assert main.main(["status"]) == 0
        assert "waits" in (said := capsys.readouterr().out)
        assert "for your word (24 hours are over; open: errors 0 of 0" in said


@pytest.mark.parametrize(("role", "release"), [("shadow", "auto"), ("canary", "ask")])
def test_the_requests_promote_no_shadow_and_nothing_that_a_person_releases(role, release):
    found = Rollout("v1.1.0", role, since=datetime.now(UTC).isoformat())
    operation = Operation(canary=CanaryConfig(on_timeout="promote"), release=release)
    for verdict, end in (("promote", "ask"), ("abort", "abort"), ("", "")):
        assert judge(Decision(verdict, "", {}), found, operation).verdict == end
    late = Rollout("v1.1.0", role, since="2026-01-01T00:00:00+00:00")
    assert judge(Decision("", "", {}), late, operation).verdict == "ask"
