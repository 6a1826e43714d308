"""The guard before Prefect's application lets through its own names, its own pages, and who has the key."""

import base64
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse

from evergreen.flows.guarded_app import Guard

OWN = "http://127.0.0.1:4200"
KEY = "evergreen:0123"


async def say_hello(socket):
    await socket.accept()
    await socket.send_text("hello")


@pytest.fixture
def app(tmp_path: Path) -> Guard:
    behind = Starlette(
        routes=[
            WebSocketRoute("/api/events", say_hello),
            Route("/{path:path}", lambda _: PlainTextResponse("behind"), methods=["GET", "POST"]),
        ]
    )
    return Guard(behind, tmp_path, KEY, 4200)


def ask(app: Guard, path: str, headers: dict[str, str], key: str | None = KEY, method: str = "GET") -> httpx.Response:
    own = {"Authorization": f"Basic {base64.b64encode(key.encode()).decode()}"} if key else {}
    return TestClient(app, OWN).request(method, path, headers=own | headers)


@pytest.mark.parametrize("host", ["evil.example:4200", "127.0.0.1", "127.0.0.1:4201", "localhost:80", ""])
def test_foreign_names_are_refused_in_one_line(app, host):
    for path in ("/", "/api/health", "/api/flows", "/reports/x"):
        answer = ask(app, path, {"Host": host})
        assert (answer.status_code, answer.text.count("\n")) == (400, 1)


def test_own_names_pass_and_the_page_is_opened_at_the_one_that_it_asks(app):
    for host in ("127.0.0.1:4200", "localhost:4200"):
        assert ask(app, "/api/flows", {"Host": host, "Origin": f"http://{host}"}).text == "behind"
    answer = TestClient(app, OWN, follow_redirects=False).get("/runs?page=2", headers={"Host": "localhost:4200"})
    assert (answer.status_code, answer.headers["location"]) == (307, f"{OWN}/runs?page=2")
    assert ask(app, "/api/flows", {"Origin": "http://localhost:4200"}).status_code == 403


def test_the_page_connects_to_no_other_server_and_is_framed_by_none(app):
    policy = ask(app, "/", {}).headers["content-security-policy"]
    assert policy == "connect-src 'self' ws://127.0.0.1:4200; frame-ancestors 'none'"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:4200", "http://127.0.0.1:8000"])
def test_foreign_pages_are_refused(app, origin):
    for method in ("GET", "POST"):
        answer = ask(app, "/api/flows", {"Origin": origin}, method=method)
        assert (answer.status_code, [name for name in answer.headers if "access" in name]) == (403, [])


def test_a_page_may_link_here_and_embed_nothing(app):
    for site in ("cross-site", "same-site"):
        assert ask(app, "/", {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document"}).text == "behind"
        for use in ("iframe", "image", "script", "empty"):
            assert ask(app, "/", {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": use}).status_code == 403
    assert ask(app, "/", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "script"}).text == "behind"


@pytest.mark.parametrize("key", [None, "", "evergreen:", "evergreen:0124", "other:0123", "0123", "evergreen:0123 "])
def test_without_the_key_only_the_page_and_its_health_are_there(app, key):
    for path in ("/api", "/api/", "/api/flows", "/api/health/x", "/reports/", "/docs", "/openapi.json"):
        for method in ("GET", "POST"):
            assert ask(app, path, {}, key, method).status_code == 401
    for path in ("/", "/index.html", "/ui-settings", "/runs", "/api/health"):
        assert ask(app, path, {}, key).text == "behind"


def test_the_browser_asks_for_the_key_where_prefects_page_does_not(app):
    assert "WWW-Authenticate" in ask(app, "/reports/", {}, None).headers
    assert "WWW-Authenticate" not in ask(app, "/api/flows", {}, None).headers


def test_a_websocket_of_a_foreign_page_is_refused(app):
    client = TestClient(app, OWN)
    with client.websocket_connect("ws://127.0.0.1:4200/api/events") as socket:
        assert socket.receive_text() == "hello"  # Prefect asks for the key in the first message
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        with pytest.raises(WebSocketDenialResponse):
            client.websocket_connect("ws://127.0.0.1:4200/api/events", headers=headers).__enter__()


def test_reports_and_nothing_else_of_the_project_are_served(app, tmp_path):
    for path in ("models/store/rain/report/report.html", "data/store/rain/described/a.html", ".evergreen/prefect.key"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("<svg>")
    answer = ask(app, "/reports/models/store/rain/report/report.html", {})
    assert (answer.text, answer.headers["content-type"]) == ("<svg>", "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert ask(app, "/reports/data/store/rain/described/a.html", {}, method="HEAD").status_code == 200
    assert ask(app, "/reports/data/store/rain/described/a.html", {}, method="POST").status_code == 404
    for path in (".evergreen/prefect.key", "models/store/rain/report/%2e%2e/report/report.html", "models/store/rain"):
        assert ask(app, f"/reports/{path}", {}).status_code == 404
