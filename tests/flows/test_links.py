"""Signed links: who has one decides about one candidate, for a time; GET shows a page, and only POST acts."""

import os
import subprocess
import time
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.testclient import TestClient

from evergreen.core.errors import PipelineError
from evergreen.core.files import write_json
from evergreen.core.processes import exclusive_lock
from evergreen.flows import deciding
from evergreen.flows.link_app import BY_LINK, build_app, open_listener
from evergreen.flows.links import Link, address_file, check_link, make_links
from evergreen.flows.run_events import recorded_run
from evergreen.stages.deploy import api_keys
from evergreen.stages.engines import decisions, versions
from evergreen.stages.pipeline import read
from tests.flows.small_project import YAML, lock, metrics

CANDIDATE = "a2.dir"


@pytest.fixture
def links(paths):
    """Makes the links of a message, as while something watches."""
    write_json(address_file(paths.root), {"format": 1, "port": 4400, "url": "http://127.0.0.1:4400"})

    def make(*actions, matter=CANDIDATE, hours=1.0, address=""):
        with exclusive_lock(paths.root / ".evergreen" / "locks" / "watch", ""):
            text = make_links(paths, actions or ("approve", "reject"), matter, hours, address)
        return dict(line.split(": ", 1) for line in text.splitlines())

    return make


@pytest.fixture
def begun():
    return []


@pytest.fixture
def client(paths, begun):
    return TestClient(build_app(paths.root, lambda *what: begun.append(what)), base_url="http://127.0.0.1:4400")


def test_a_link_is_for_one_matter_and_time_and_needs_the_key(paths, links):
    parts = urlsplit(links()["approve"])
    query = dict(parse_qsl(parts.query))
    assert parts.path == "/approve"
    link = check_link(paths.root, "approve", query)
    assert (link.pipeline, link.matter) == ("churn", CANDIDATE)
    assert 3500 < link.until - time.time() <= 3600
    changes = [
        {"pipeline": "prices"},
        {"matter": "a3.dir"},
        {"until": str(link.until + 1)},
        {"seal": ""},
        {"seal": "ü"},
    ]
    for change in changes:
        with pytest.raises(PipelineError, match="this is no link of this project"):
            check_link(paths.root, "approve", query | change)
    for action in ("reject", "retrain", "stop"):
        with pytest.raises(PipelineError, match="this is no link of this project"):
            check_link(paths.root, action, query)
    old = Link("approve", "churn", CANDIDATE, int(time.time()) - 1)
    with pytest.raises(PipelineError, match="this link is over"):
        check_link(paths.root, "approve", query | {"until": str(old.until), "seal": old.sign(paths.root)})
    key = paths.home / "links.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    with pytest.raises(PipelineError, match="this is no link of this project"):
        check_link(paths.root, "approve", query)


def test_where_nothing_watches_there_are_no_links(paths, links):
    assert links(address="https://models.example.org/")["reject"].startswith("https://models.example.org/reject?")
    assert make_links(paths, ("approve",), CANDIDATE, 1.0) == ""


def test_a_message_about_a_waiting_candidate_has_them(paths, links, hook):
    (paths.root / "notify.yaml").write_text(f"to: ['{hook.address}']\nlinks: https://models.example.org\n")
    with exclusive_lock(paths.root / ".evergreen" / "locks" / "watch", ""), recorded_run(paths, "schedule"):
        pass
    (body,) = hook.bodies
    lines = [line for line in body["message"].splitlines() if "://" in line]
    assert [line.partition("?")[0] for line in lines] == [
        "approve: https://models.example.org/approve",
        "reject: https://models.example.org/reject",
    ]
    query = dict(parse_qsl(urlsplit(lines[0].partition(" ")[2]).query))
    assert check_link(paths.root, "approve", query).matter == CANDIDATE


def test_a_page_asks_and_does_nothing(paths, links, client, begun):
    for action in ("approve", "reject"):
        page = client.get(links()[action])
        assert page.status_code == 200
        assert "It is better." in page.text
        assert '<form method="post">' in page.text
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert client.head(links()[action]).status_code == 200
    assert versions.candidate_version(paths) is None
    assert client.get("/approve?pipeline=churn").status_code == 403
    assert client.post("/approve?pipeline=churn").status_code == 403
    assert client.get("/").status_code == 404
    assert client.put(links()["approve"]).status_code == 405
    assert client.post(links()["approve"], content=b"x" * 10_000).status_code == 413
    assert client.post(links()["reject"], data={"who": "Ada", "reason": " "}).status_code == 422
    assert begun == []


def test_a_link_of_another_candidate_is_settled(paths, links, client):
    link = links()["approve"]
    (paths.root / "dvc.lock").write_text(lock("a3"))
    assert client.get(link).status_code == 409
    assert client.post(link, data={"who": "Ada"}).status_code == 409
    assert client.post(links(matter="")["approve"]).status_code == 409
    assert versions.candidate_version(paths) is None


@pytest.mark.slow
def test_a_rejection_by_link_says_who_and_why_and_counts_once(paths, links, client):
    link = links()["reject"]
    done = client.post(link, data={"who": "Ada <x@y>\n", "reason": "the test rows; are $(of) one shop"})
    assert done.status_code == 200, done.text
    assert "churn v1.1.0 is rejected" in done.text
    decision = decisions.rejection(paths)
    assert decision is not None
    assert decision["who"] == "Ada x@y (by link) <evergreen@localhost>"
    assert decision["why"] == "the test rows; are $(of) one shop"
    assert client.post(link, data={"who": "Bob", "reason": "me too"}).status_code == 409
    tags = subprocess.run(["git", "tag"], cwd=paths.root, capture_output=True, text=True).stdout
    assert tags.count("#rejected#") == 1


def test_a_run_is_begun_by_link_or_with_the_owners_key(paths, links, client, begun):
    link = links("retrain", matter="v1.0.0")["retrain"]
    assert "trains where there are new rows" in client.get(link).text
    assert begun == []
    assert client.post(link).status_code == 200
    owner, add = api_keys.owner_key(paths.root), api_keys.add_key(paths.root, "client")
    for key, status in ((owner, 200), (add, 403), ("", 403)):
        headers = {"Authorization": f"Bearer {key}"}
        assert client.post("/retrain?pipeline=churn", headers=headers).status_code == status
        assert client.post("/approve?pipeline=churn", headers=headers).status_code == 403
    assert client.get("/retrain?pipeline=churn", headers={"Authorization": f"Bearer {owner}"}).status_code == 403
    assert client.post("/retrain", headers={"Authorization": f"Bearer {owner}"}).status_code == 409
    assert begun == [("churn", BY_LINK)] * 2


def test_it_listens_where_it_did_before_and_on_loopback(paths):
    with open_listener(paths.root, "127.0.0.1") as first:
        port = first.getsockname()
    with open_listener(paths.root, "127.0.0.1") as second:
        assert second.getsockname() == port
    with pytest.raises(PipelineError, match=r"no free port .* at 203\.0\.113\.9"):
        open_listener(paths.root, "203.0.113.9")


@pytest.mark.parametrize(
    ("policy", "verdict", "age_hours", "done"),
    [
        ("reject", "release", 49, "reject"),
        ("reject", "release", 47, ""),
        ("reject", "ask", 49, "reject"),
        ("release", "release", 49, "approve"),
        ("release", "ask", 49, ""),  # nobody knows whether it is better
        ("wait", "release", 49, ""),
    ],
)
def test_a_candidate_about_which_nobody_decides_in_time(paths, policy, verdict, age_hours, done):
    paths.pipeline.write_text(YAML + f"ask: {{hours: 48, on_timeout: {policy}}}\n")
    write_json(paths.metrics, metrics(verdict))
    os.utime(paths.metrics, (time.time() - age_hours * 3600,) * 2)
    pipeline = read("churn", paths.root)
    assert deciding._find_timeout(pipeline, paths) == done
    decisions.reject(paths, "decided before")
    assert deciding._find_timeout(pipeline, paths) == ""


@pytest.mark.slow
def test_a_time_out_rejects_once_and_says_so(paths, hook):
    (paths.root / "notify.yaml").write_text(f"to: ['{hook.address}']\n")
    paths.pipeline.write_text(YAML + "ask: {hours: 48, on_timeout: reject}\n")
    os.utime(paths.metrics, (time.time() - 49 * 3600,) * 2)
    assert deciding.settle_timeouts(paths.root) == []
    decision = decisions.rejection(paths)
    assert decision is not None
    assert (decision["who"], decision["why"]) == (
        "the time-out of ask <evergreen@localhost>",
        "nobody decided in 48 hours",
    )
    assert deciding.settle_timeouts(paths.root) == []
    assert hook.titles == ["Evergreen: churn timed out"]
    assert "nobody decided in 48 hours: churn v1.1.0 is rejected; v1.0.0 stays released" in hook.bodies[0]["message"]
