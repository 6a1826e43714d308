"""Which callers a version beside the one in production answers, and what the log keeps of it."""

import asyncio
import json
from types import SimpleNamespace

import httpx
import pyarrow as pa
import pytest
from starlette.requests import Request

from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy import api_keys
from evergreen.stages.deploy.api_keys import Caller
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.late_labels import _find_places
from evergreen.stages.deploy.protocols import Call
from evergreen.stages.deploy.request_log import Entry, RequestLog
from evergreen.stages.deploy.rollout import Rollout, list_keys
from evergreen.stages.deploy.version_process import VersionProcess
from evergreen.stages.deploy.version_server import VersionEndpoint
from evergreen.stages.monitor.request_windows import read_windows
from evergreen.stages.request_files import read_requests


def rollout(role="canary", share=0.1, pins=None, processes=("v2.0.0",)):
    facts = {"version": "v2.0.0" if role else "", "role": role, "share": share, "pins": pins or {}}
    return Rollout("churn", facts, dict.fromkeys(processes))


def callers(n=4000):
    return [[f"customer-{number}", "shop", f"request-{number}"] for number in range(n)]


def test_a_caller_keeps_its_version_and_a_larger_share_keeps_the_callers_of_a_smaller_one():
    few, many = ({keys[0] for keys in callers() if rollout(share=x).choose(keys)[1] == "canary"} for x in (0.1, 0.3))
    assert few < many
    assert len(few) / 4000 == pytest.approx(0.1, abs=0.02)
    assert few == {keys[0] for keys in callers() if rollout().choose([keys[0], "kiosk", "other"])[1] == "canary"}
    unseen = [keys for keys in callers() if rollout().choose(keys)[1] == "shadow"]
    assert len(unseen) / 4000 == pytest.approx(0.1, abs=0.02)
    assert {rollout(share=1.0).choose(keys) for keys in callers()} == {("v2.0.0", "canary")}


def test_a_shadow_gets_every_request_and_a_pin_goes_before_all():
    assert {rollout("shadow", 0.0).choose(keys) for keys in callers()} == {("v2.0.0", "shadow")}
    assert {rollout("", 0.0).choose(keys) for keys in callers()} == {("", "")}
    pinned = rollout(share=1.0, pins={"shop": "v1.0.0", "customer-1": "v2.0.0", "old": "v0.1.0"}, processes=["v2.0.0"])
    assert pinned.choose(["customer-1", "shop", "r"]) == ("v2.0.0", "pinned")
    assert pinned.choose(["customer-2", "shop", "r"]) == ("", "")  # v1.0.0 is in production
    assert pinned.choose(["customer-2", "kiosk", "r"]) == ("v2.0.0", "canary")


@pytest.mark.parametrize(
    ("body", "caller", "keys"),
    [
        (b'{"rows": [{"age": 1, "_id": "order-7"}, {"_id": "order-8"}]}', "shop", ["order-7", "shop", "r"]),
        (b'{"_id" : 17}', "", ["17", "r"]),
        (b'{"note": "\\"_id\\": 3"}', "", ["r"]),
        (b'{"_id": ""}\n', "shop", ["shop", "r"]),
        (b"\xff\x00 no JSON", "", ["r"]),
    ],
)
def test_who_asks_is_told_by_the_id_the_key_or_the_request(body, caller, keys):
    assert list_keys(SimpleNamespace(caller=Caller(caller), request_id="r"), body) == keys


@pytest.mark.parametrize(("role", "left"), [("canary", 8), ("shadow", 10)])
def test_rows_that_a_canary_answers_are_paid_for_and_those_of_a_shadow_are_not(tmp_path, random_model, role, left):
    random_model("sizes", tmp_path / "model", 1)
    entry = {"version": "v2.0.0", "path": str(tmp_path / "model"), "limits": {}}
    endpoint, process = VersionEndpoint(), VersionProcess({"name": "sizes", "entry": entry, "max_seconds": 60})
    api_keys.add_key(tmp_path, "shop")  # a replica passes nobody's key on
    caller = Caller("shop", left={"rows_per_minute": 10})
    scope = {"type": "http", "method": "POST", "path": "/sizes/predict", "query_string": b"", "headers": []}
    call = Call(Request(scope), {"content-type": "application/json"}, "mine", caller=caller)

    async def ask():
        home = str(tmp_path / ".evergreen" / "requests")
        await endpoint.reconfigure({"revision": "1", "home": home, "pipelines": {"sizes": entry}})
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        process.client, process.problem = httpx.AsyncClient(transport=transport, base_url="http://localhost"), ""
        return await process.ask(call, json.dumps({"rows": [{"age": 0.5, "colour": "red"}] * 2}).encode(), role)

    response = asyncio.run(ask())
    endpoint.log.close()
    assert (response.status_code, caller.left["rows_per_minute"]) == (200, left)
    assert not any("evergreen" in name for name in response.headers)


def test_the_log_keeps_roles_apart_and_labels_and_windows_are_of_what_was_answered(tmp_path):
    limits = DeployConfig().model_dump()
    replica, process = RequestLog(tmp_path, "one"), RequestLog(tmp_path, "two")

    def put(log, version, role, request, **answered):
        served, first = SimpleNamespace(version=version, limits=limits), -1 if "problem" in answered else 0
        asked, answers = pa.table({"age": [1]}), Answers([[answered]])
        log.put(Entry("churn", served, asked, answers, request, "", 0.1, 9, ["mine"], first, role))

    put(replica, "v1", "production", "a", prediction=1.0)
    put(replica, "v2", "canary", "a", problem="it died")
    put(process, "v2", "shadow", "a", prediction=2.0)
    put(process, "v2", "canary", "b", prediction=2.0)
    for log in (replica, process):
        log.close()
    rows = [row for table in read_requests(tmp_path / "churn") for row in table.to_pylist()]
    assert sorted((row["version"], row["role"], row["row"]) for row in rows) == [
        *(("v1", "production", 0), ("v2", "canary", -1), ("v2", "canary", 0), ("v2", "shadow", 0)),
    ]
    assert {row["answered"].get("problem") for row in rows} == {None, "it died"}
    assert _find_places(tmp_path / "churn", [("a", 0), ("b", 0)]) == {("a", 0): [("a", 0)], ("b", 0): [("b", 0)]}
    assert [window.version for window in read_windows(tmp_path / "churn", {}, 1, {})] == ["v1"]
