"""Messages arrive at a real mail server and a real web server: one an event, grouped, throttled, without secrets."""

import email
import json
import os
import socket
from email import policy
from pathlib import Path

import pytest

from evergreen.cli import main
from evergreen.core.errors import PipelineError
from evergreen.flows import notifications
from evergreen.flows.notifications import Event
from evergreen.stages.operation import NotifyConfig, Operation
from evergreen.stages.pipeline import read

LEAST = "task: regression\ncollect: {uri: rows.csv}\npreprocess: {target: b}\n"


def config(hook, **more) -> NotifyConfig:
    return NotifyConfig(to=[hook.address], **more)


def stored(root: Path) -> dict:
    return json.loads((root / ".evergreen" / "notifications.json").read_text())


def test_one_message_an_event(hook, tmp_path):
    failed = Event("churn", "failed", "the source is gone", "gone")
    for _ in range(3):  # each night for the same reason
        assert notifications.notify(tmp_path, config(hook), [failed]) == []
    assert hook.titles == ["Evergreen: churn failed"]
    assert "the source is gone" in hook.bodies[0]["message"]
    assert str(tmp_path) in hook.bodies[0]["message"]
    assert hook.bodies[0]["type"] == "failure"
    assert hook.paths == ["/q7Zt-wellkept-0815"]
    notifications.notify(tmp_path, config(hook), [Event("churn", "failed", "the disk is full", "full")])
    notifications.notify(tmp_path, config(hook), [Event("prices", "failed", "the source is gone", "gone")])
    notifications.forget(tmp_path, "churn", "failed")
    notifications.notify(tmp_path, config(hook), [failed])
    assert hook.titles[1:] == ["Evergreen: churn failed", "Evergreen: prices failed", "Evergreen: churn failed"]


def test_a_failure_is_told_again_when_it_lasts(hook, tmp_path):
    for _ in range(2):
        notifications.notify(tmp_path, config(hook, repeat_after="0s"), [Event("churn", "failed", "gone", "gone")])
        notifications.notify(tmp_path, config(hook, repeat_after="0s"), [Event("churn", "waiting", "it waits", "a1")])
    assert hook.titles == ["Evergreen: churn failed", "Evergreen: churn waiting", "Evergreen: churn failed"]


def test_many_events_come_in_one_message(hook, tmp_path):
    events = [Event(f"shop{number}", "failed", "the source is gone") for number in range(5)]
    events.append(Event("shop9", "released", "v1.1.0 is in service"))
    notifications.notify(tmp_path, config(hook), events)
    assert hook.titles == ["Evergreen: 6 events: shop0 failed, shop1 failed, shop2 failed, …"]
    assert hook.bodies[0]["message"].count("the source is gone") == 5
    assert hook.bodies[0]["type"] == "failure"


def test_an_address_has_its_share_of_an_hour_and_the_rest_comes_together(hook, tmp_path, monkeypatch):
    few = config(hook, max_per_hour=2)
    for number in range(5):
        notifications.notify(tmp_path, few, [Event(f"shop{number}", "released", "new")])
    assert hook.titles == ["Evergreen: shop0 released", "Evergreen: shop1 released"]
    assert len(stored(tmp_path)["waiting"]) == 3
    now = notifications.time.time() + 3601
    monkeypatch.setattr(notifications.time, "time", lambda: now)
    assert notifications.flush(tmp_path) == []
    assert hook.titles[2:] == ["Evergreen: 3 events: shop2 released, shop3 released, shop4 released"]
    assert stored(tmp_path)["waiting"] == []


def test_what_could_not_be_sent_is_said_and_sent_later(hook, tmp_path):
    hook.status = 503
    (problem,) = notifications.notify(tmp_path, config(hook), [Event("churn", "released", "v1.1.0")])
    assert "took no message" in problem
    assert "\n" not in problem
    hook.status = 200
    assert notifications.flush(tmp_path) == []
    assert hook.titles == ["Evergreen: churn released"]
    assert notifications.flush(tmp_path) == []
    assert len(hook.titles) == 1


def test_only_the_events_that_are_named_are_told(hook, tmp_path):
    notifications.notify(tmp_path, config(hook, events=["failed"]), [Event("churn", "released", "v1.1.0")])
    assert hook.titles == []


def test_no_secret_is_stored_or_shown(hook, tmp_path, capfd, monkeypatch):
    hook.status = 500
    (problem,) = notifications.notify(tmp_path, config(hook), [Event("churn", "failed", "key q7Zt-wellkept-0815")])
    monkeypatch.delenv("HOOK_KEY")
    (missing,) = notifications.flush(tmp_path)
    assert "the environment has no HOOK_KEY" in missing
    files = [path.read_text() for path in (tmp_path / ".evergreen").rglob("*") if path.is_file()]
    for text in (problem, missing, *capfd.readouterr(), *files):
        assert "q7Zt-wellkept-0815" not in text
    assert (tmp_path / ".evergreen").stat().st_mode & 0o077 == 0


def test_a_broken_state_begins_anew(hook, tmp_path):
    (tmp_path / ".evergreen").mkdir()
    (tmp_path / ".evergreen" / "notifications.json").write_text("{")
    assert notifications.notify(tmp_path, config(hook), [Event("churn", "released", "v1.1.0")]) == []
    assert hook.titles == ["Evergreen: churn released"]


def test_an_address_that_apprise_does_not_know_is_said(tmp_path):
    wrong = NotifyConfig(to=["nowhere://${HOME}"])
    (problem,) = notifications.notify(tmp_path, wrong, [Event("churn", "released", "v1.1.0")])
    assert "no address that Apprise knows" in problem


def test_a_mail_arrives(tmp_path, monkeypatch):
    from aiosmtpd.controller import Controller
    from aiosmtpd.handlers import Message

    class Mailbox(Message):
        mails: list = []

        def handle_message(self, message) -> None:
            self.mails.append(email.message_from_bytes(bytes(message), policy=policy.default))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Controller(Mailbox(), hostname="127.0.0.1", port=port)
    server.start()
    try:
        monkeypatch.setenv("TEAM", "team@example.org")
        address = f"mailto://127.0.0.1:{port}?from=evergreen@example.org&to=${{TEAM}}&mode=insecure"
        told = NotifyConfig(to=[address])
        assert notifications.notify(tmp_path, told, [Event("churn", "waiting", "approve or reject it; größer")]) == []
        (mail,) = Mailbox.mails
    finally:
        server.stop()
    assert mail["To"] == "team@example.org"
    assert mail["Subject"] == "Evergreen: churn waiting"
    assert "approve or reject it; größer" in mail.get_body(("plain", "html")).get_content()


def project(tmp_path: Path, monkeypatch, more: str = "") -> Path:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "pipelines" / "churn.yaml").write_text(LEAST + more)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_test_message_goes_to_every_address(hook, tmp_path, monkeypatch, capsys):
    root = project(tmp_path, monkeypatch)
    assert main.main(["notify", "test"]) == 2
    assert "nobody is to be told; write" in capsys.readouterr().err
    (root / "notify.yaml").write_text(f"to: ['{hook.address}']\n")
    assert main.main(["notify", "test"]) == 0
    assert capsys.readouterr().out == f"{hook.address}  sent\n"
    assert hook.titles == ["Evergreen: test"]
    hook.status = 404
    assert main.main(["notify", "test", "--json"]) == 1
    assert "took no message" in json.loads(capsys.readouterr().out)["sent"][hook.address]
    assert main.main(["notify", "tset"]) == 2
    assert "did you mean 'test'?" in capsys.readouterr().err


def test_a_pipeline_s_own_addresses_come_before_the_project_s(hook, tmp_path, monkeypatch):
    root = project(tmp_path, monkeypatch, "notify: {to: ['mailto://a@example.org'], events: [failed]}\n")
    (root / "notify.yaml").write_text(f"to: ['{hook.address}']\n")
    assert notifications.read_config(root, read("churn", root).operation).to == ["mailto://a@example.org"]
    assert notifications.read_config(root, Operation()).to == [hook.address]


MISTAKES = {
    "notify: {to: []}": "give at least 1 values",
    "notify: {}": "notify.to is missing",
    "notify: {to: ['slack://T1/B2/C3']}": "an address of slack holds a secret; write what is secret as ${NAME}",
    "notify: {to: ['mailtos://me:hunter2@example.org']}": "the address holds a password",
    "notify: {to: [somebody]}": "an address begins with a service",
    "notify: {to: ['json://h'], events: [fail]}": "did you mean 'failed'?",
    "notify: {to: ['json://h'], repeat_after: soon}": "'soon' is not a duration",
    "notify: {to: ['json://h'], max_per_hour: 0}": "give at least 1",
    "alarm_after: three days": "'three days' is not a duration; write 30m, 6h, 2d or 1w",
}


@pytest.mark.parametrize("wrong", MISTAKES)
def test_mistakes_are_said_with_their_line(tmp_path, monkeypatch, wrong):
    root = project(tmp_path, monkeypatch, wrong + "\n")
    with pytest.raises(PipelineError) as caught:
        read("churn", root)
    assert str(caught.value).startswith("pipelines/churn.yaml:4: ")
    assert MISTAKES[wrong] in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_reading_addresses_imports_no_apprise():
    import subprocess
    import sys

    code = "import sys, evergreen.flows.notifications; print('apprise' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "False\n"
