"""Who decides about a candidate, and what the tags keep of a person's decision: real git, in a small project."""

import json
import subprocess
from types import SimpleNamespace

import pytest
from gto.api import show

from evergreen.cli import main
from evergreen.core.errors import VersionError
from evergreen.flows import approval
from evergreen.stages.engines import decisions, git_commits, versions
from evergreen.stages.operation import ReleaseConfig
from tests.flows.small_project import metrics


def described(capsys: pytest.CaptureFixture[str]) -> dict:
    assert main.main(["status", "churn", "--json"]) == 0
    return json.loads(capsys.readouterr().out)["pipelines"][0]


@pytest.mark.slow
def test_a_rejected_candidate_is_not_asked_about_again(paths, capsys):
    assert described(capsys)["waits"] is True
    assert main.main(["status", "churn"]) == 0
    word = "for your word (pipelines/churn.yaml says release: ask): evergreen approve churn, or evergreen reject churn"
    assert word in capsys.readouterr().out
    assert main.main(["reject", "churn", "--reason", "the test rows\nare of one shop"]) == 0
    assert capsys.readouterr().out == "churn v1.1.0 is rejected; v1.0.0 stays released\n"
    value = described(capsys)
    assert (value["waits"], value["released"]) == (False, "v1.0.0")
    decision = value["decision"]
    assert (decision["what"], decision["version"], decision["who"]) == ("Rejected", "v1.1.0", "Ada <ada@example.org>")
    assert (decision["why"], decision["when"][:2]) == ("the test rows are of one shop", "20")
    assert main.main(["status", "churn"]) == 0
    assert "decided   rejected v1.1.0 by Ada <ada@example.org>, 20" in capsys.readouterr().out
    assert decisions.rejection(paths) == decision
    assert main.main(["reject", "churn", "--reason", "again"]) == 0
    tags = subprocess.run(["git", "tag", "--list"], cwd=paths.root, capture_output=True, text=True).stdout.split()
    assert tags == ["churn#production#1", "churn#rejected#2", "churn@v1.0.0", "churn@v1.1.0"]
    assert [one["version"] for one in show(str(paths.root), "churn#rejected")] == ["v1.1.0"]


def test_no_verdict_releases_what_was_rejected_but_a_person_may(paths, monkeypatch):
    monkeypatch.setattr(versions, "_say_notes", lambda *_: None)  # the project has no DVC repository
    decisions.reject(paths, "no")
    notes: list[str] = []
    assert versions.release(paths, "better", notes.append) == "v1.1.0"
    assert versions.released(paths.root) == {"churn": "v1.0.0"}
    assert notes == [
        "v1.1.0 was rejected, so v1.0.0 stays in production; `evergreen approve churn` puts it into service"
    ]
    message = decisions.sign(paths.root, "Approved", "seen again")
    assert versions.release(paths, message, again=True) == "v1.1.0"
    assert versions.released(paths.root) == {"churn": "v1.1.0"}
    assert decisions.rejection(paths) is None
    decision = decisions.decisions(paths.root)["churn"]
    assert (decision["what"], decision["why"]) == ("Approved", "seen again")
    with pytest.raises(VersionError, match=r"churn v1\.1\.0 is in production; go back .* evergreen rollback churn"):
        decisions.reject(paths, "too late")


def test_who_decides_needs_a_reason_and_a_candidate(paths, capsys):
    assert main.main(["reject", "churn"]) == 2
    assert "--reason" in capsys.readouterr().err
    assert main.main(["reject", "churn", "--reason", " "]) == 2
    assert "the reason is empty; say why" in capsys.readouterr().err
    (paths.root / "dvc.lock").unlink()
    assert main.main(["reject", "churn", "--reason", "no"]) == 2
    assert "no recorded candidate" in capsys.readouterr().err


def test_where_git_knows_nobody_the_login_decides(paths):
    for key in ("user.name", "user.email"):
        subprocess.run(["git", "config", "--unset", key], cwd=paths.root, check=True)
    assert "@" in git_commits.person(paths.root)
    assert "<" not in git_commits.person(paths.root)


def test_a_verdict_without_a_person_leaves_no_decision(paths):
    assert decisions.decisions(paths.root) == {}


@pytest.mark.parametrize(
    ("released", "case"),
    [
        ({"r2": 0.89, "mae": 1.6}, ""),  # within the intervals
        ({"r2": 0.95, "mae": 3.0}, "r2 fell against the released v1.0.0"),
        ({"r2": 0.95, "mae": 1.0}, "r2, mae fell against the released v1.0.0"),
        ({}, ""),  # nothing is released
    ],
)
def test_a_person_is_asked_when_a_score_falls(paths, released, case):
    (paths.evaluation / "evidence.json").write_text(json.dumps({"metrics": {"r2": "max", "mae": "min"}}))
    pipeline = ask_when("score drop")
    assert approval.case_for_person(pipeline, paths, metrics(**released)) == case
    assert approval.is_released_by_verdict(pipeline, paths, metrics(**released)) == (not case)


@pytest.mark.parametrize(("size", "case"), [(150, ""), (151, "it is 1.5 times as large as the released v1.0.0")])
def test_a_person_is_asked_when_the_model_grows(paths, size, case):
    for folder, n_bytes in ((paths.candidate, size), (paths.released / "v1.0.0", 100)):
        folder.mkdir(parents=True)
        (folder / "weights.safetensors").write_bytes(bytes(n_bytes))
    assert approval.case_for_person(ask_when("size"), paths, metrics(r2=0.1, mae=9.0)) == case
    (paths.released / "v1.0.0" / "weights.safetensors").unlink()
    assert "unknown here" in approval.case_for_person(ask_when("size"), paths, metrics(r2=0.1, mae=9.0))


def test_a_new_class_is_always_a_persons_matter(paths):
    assert approval.case_for_person(ask_when("size"), paths, metrics("ask")) == "the comparison cannot settle it"
    assert approval.case_for_person(ask_when("size"), paths, metrics("keep")) == ""


def ask_when(*cases: str) -> SimpleNamespace:
    return SimpleNamespace(name="churn", operation=SimpleNamespace(release=ReleaseConfig(ask_when=list(cases))))
