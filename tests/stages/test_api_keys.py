"""Who may ask the endpoint: keys that are stored as hashes, pipelines and limits of each, and nobody by accident."""

import asyncio
import json
import time

import httpx
import pytest

from evergreen.cli.commands.keys import keys
from evergreen.core.errors import PipelineError
from evergreen.stages.deploy import api_keys, request_log
from evergreen.stages.deploy import stage as deploy
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint
from evergreen.stages.engines import haproxy, listening

JSON = {"content-type": "application/json"}


@pytest.fixture
def endpoint(tmp_path, random_model):
    entries = {}
    for name in ("digits", "sizes"):
        random_model(name, tmp_path / name, 1)
        entries[name] = {"version": "v1.0.0", "path": str(tmp_path / name), "limits": {}}
    made = Endpoint()
    home = tmp_path / ".evergreen" / "requests"
    asyncio.run(made.reconfigure({"revision": "1", "hosts": [], "home": str(home), "pipelines": entries}))
    assert not made.failures
    return made


def ask(endpoint, path, secret=None, body=None, **headers):
    endpoint.door._next_look = 0.0  # a second has passed

    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            named = {"authorization": f"Bearer {secret}"} if secret else {}
            method = "GET" if body is None else "POST"
            return await client.request(method, path, content=body, headers={**JSON, **named, **headers})

    return asyncio.run(send())


def predict(endpoint, name="sizes", secret=None, rows=1, **headers):
    body = json.dumps({"rows": [endpoint.served[name].schema["example"]] * rows})
    return ask(endpoint, f"/{name}/predict", secret, body, **headers)


def test_without_keys_everybody_may_ask_and_from_the_first_on_nobody_else(endpoint, tmp_path):
    assert predict(endpoint).status_code == 200
    secret = api_keys.add_key(tmp_path, "shop")
    refused = predict(endpoint)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "Authorization: Bearer" in refused.json()["error"]
    wrong = predict(endpoint, secret="eg_wrong")
    assert (wrong.status_code, "eg_wrong" in wrong.text) == (401, False)
    assert predict(endpoint, secret=secret).status_code == 200
    assert predict(endpoint, **{"x-api-key": secret}).status_code == 200
    for path in ("/", "/docs", "/openapi.json", "/sizes", "/v2", "/v2/models/sizes", "/nowhere/else"):
        assert ask(endpoint, path).status_code in (401, 404), path
    api_keys.revoke_key(tmp_path, "shop")
    assert predict(endpoint, secret=secret).status_code == 401
    assert predict(endpoint).status_code == 401, "the last key that goes opens no door"


def test_health_is_open_and_names_nothing_to_strangers(endpoint, tmp_path):
    secret = api_keys.add_key(tmp_path, "shop")
    assert ask(endpoint, "/healthz").json() == {"status": "ok"}
    assert ask(endpoint, "/healthz", secret).json()["pipelines"] == {"digits": "v1.0.0", "sizes": "v1.0.0"}
    assert ask(endpoint, "/v2/health/ready").status_code == 200
    owner = api_keys.owner_headers(tmp_path)
    assert ask(endpoint, "/healthz", **owner).json()["revision"] == "1"
    assert (tmp_path / ".evergreen" / "endpoint.key").stat().st_mode & 0o777 == 0o600


def test_only_hashes_are_stored_in_a_file_of_its_owner(tmp_path):
    secret = api_keys.add_key(tmp_path, "shop", ["sizes"], rows_per_minute=5, requests_per_minute=None)
    path = api_keys.keys_file(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret not in path.read_text()
    (entry,) = api_keys.list_keys(tmp_path).values()
    assert (entry["pipelines"], entry["rows_per_minute"], "requests_per_minute" in entry) == (["sizes"], 5, False)
    with pytest.raises(PipelineError, match="already"):
        api_keys.add_key(tmp_path, "shop")
    with pytest.raises(PipelineError, match="did you mean 'shop'"):
        api_keys.revoke_key(tmp_path, "shpo")
    for name in ("", "a b", "-a", "x" * 65, "evergreen"):
        with pytest.raises(PipelineError, match="no name of a key"):
            api_keys.add_key(tmp_path, name)


def test_a_key_is_for_its_pipelines(endpoint, tmp_path):
    secret = api_keys.add_key(tmp_path, "shop", ["sizes"])
    assert predict(endpoint, "sizes", secret).status_code == 200
    refused = predict(endpoint, "digits", secret)
    assert (refused.status_code, "it is for sizes" in refused.text) == (403, True)
    assert ask(endpoint, "/v2/models/digits/infer", secret, b"{}").status_code == 403


def test_requests_and_rows_are_counted_by_key(endpoint, tmp_path):
    few, many = (
        api_keys.add_key(tmp_path, "few", requests_per_minute=2),
        api_keys.add_key(tmp_path, "many", rows_per_minute=30),
    )
    assert [predict(endpoint, secret=few).status_code for _ in range(3)] == [200, 200, 429]
    refused = predict(endpoint, secret=few)
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert "requests per minute" in refused.json()["error"]
    assert [predict(endpoint, secret=many, rows=20).status_code for _ in range(3)] == [200, 200, 429]
    table = "age,colour\n" + "0.5,red\n" * 100
    caller = next(one for one in endpoint.door._callers.values() if one.name == "many")
    caller.filled -= 60  # a minute has passed
    assert ask(endpoint, "/sizes/predict", many, table, **{"content-type": "text/csv"}).status_code == 200
    assert -100 < caller.left["rows_per_minute"] <= -70
    waits = int(predict(endpoint, secret=many).headers["retry-after"])
    assert 120 < waits <= 202
    caller.filled -= waits
    assert predict(endpoint, secret=many).status_code == 200
    api_keys.add_key(tmp_path, "other")
    assert predict(endpoint, secret=few).status_code == 429, "what is left outlives a change of the file"


def test_a_file_that_goes_or_breaks_lets_nobody_new_in(endpoint, tmp_path):
    secret = api_keys.add_key(tmp_path, "shop")
    assert predict(endpoint, secret=secret).status_code == 200
    path = api_keys.keys_file(tmp_path)
    text = path.read_text()
    path.write_text("{")
    assert [predict(endpoint, secret=one).status_code for one in (secret, None)] == [200, 401]
    path.unlink()
    assert [predict(endpoint, secret=one).status_code for one in (secret, None)] == [401, 401]
    path.write_text(text)
    assert predict(endpoint, secret=secret).status_code == 200
    path.unlink()
    config = {"revision": "2", "home": str(path.parent / "requests")}
    entries = {name: served.entry for name, served in endpoint.served.items()}
    asyncio.run(endpoint.reconfigure(config | {"pipelines": entries}))
    assert predict(endpoint).status_code == 200, "who deploys without keys wants none"


def test_a_replica_that_does_not_see_the_file_lets_nobody_in(endpoint, tmp_path, monkeypatch):
    def fail(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(request_log, "make_private", fail)
    entries = {name: served.entry for name, served in endpoint.served.items()}
    for needs_key, status in ((True, 401), (False, 200)):
        made, home = Endpoint(), str(tmp_path / "elsewhere" / "requests")
        asyncio.run(made.reconfigure({"revision": "1", "home": home, "needs_key": needs_key, "pipelines": entries}))
        assert (made.home, made.log) == (None, None)
        assert predict(made).status_code == status


def test_the_file_is_looked_at_once_a_second(endpoint, tmp_path):
    assert predict(endpoint).status_code == 200
    api_keys.add_key(tmp_path, "shop")
    endpoint.door._next_look = time.monotonic() + 1
    assert endpoint.door.identify({}) is api_keys.EVERYBODY


def test_nothing_listens_beyond_loopback_without_keys(tmp_path):
    assert listening.bind_host(tmp_path) == "127.0.0.1"
    haproxy.environment(tmp_path)
    listening.choose_host(tmp_path, "0.0.0.0")
    with haproxy.claim_port(tmp_path):
        pass
    assert listening.bind_host(tmp_path) == "0.0.0.0"
    with pytest.raises(PipelineError, match=r"no API keys.*evergreen keys add"):
        deploy.deploy(tmp_path, {}, DeployConfig())
    for wrong in ("localhost; rm", "::", "*", "1.2.3", "0.0.0.0\n"):
        with pytest.raises(PipelineError, match="no address"):
            listening.choose_host(tmp_path, wrong)
    for file in ("none.pem", __file__):
        with pytest.raises(PipelineError, match=r"no TLS with .*give files in PEM"):
            listening.choose_host(tmp_path, "", file)
    assert listening.read_tls(tmp_path) == {}


def test_the_command_adds_lists_and_revokes(tmp_path, monkeypatch):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "pipelines" / "sizes.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert "there are no keys" in keys().text
    made = keys("add", "shop", ["sizes"], rows_per_minute=1000)
    assert made.text.startswith(made.value["key"])
    assert made.value["key"].startswith("eg_")
    listed = keys("list")
    assert listed.text.startswith("shop  sizes  1,000 rows per minute  since 20")
    assert "hash" not in json.dumps(listed.value)
    with pytest.raises(PipelineError, match="did you mean 'sizes'"):
        keys("add", "other", ["size"])
    with pytest.raises(PipelineError, match="a key has a name"):
        keys("revoke")
    assert "shop" in keys("revoke", "shop").text
    assert keys().value == {"keys": []}
