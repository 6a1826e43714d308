"""Redirects are followed without credentials, and never to this machine or its network unless that is said."""

import base64
import http.server
import threading
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data.sources import _redirects, open_source
from evergreen.data.sources import _remote as remote
from evergreen.data.sources._redirects import check_schemes, zone_of

ROWS = b"a,b\n1,2\n"
PUBLIC = "127.0.0.2"  # counts as one on the internet here


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.seen.append(dict(self.headers))
        target = self.server.targets.get(urlsplit(self.path).path)
        self.send_response(302 if target else 200)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Length", "0" if target else str(len(ROWS)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command == "GET" and not target:
            self.wfile.write(ROWS)

    do_HEAD = do_GET


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(_redirects, "zone_of", lambda ip: "public" if ip == PUBLIC else zone_of(ip))
    started = []

    def start(host, **targets):
        server = http.server.ThreadingHTTPServer((host, 0), Handler)
        server.seen, server.targets = [], {f"/{name}.csv": target for name, target in targets.items()}
        server.url = f"http://{host}:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def read(uri, root, **options):
    return pa.Table.from_batches(list(open_source(uri, root, **options).read()))["a"].to_pylist()


def logins(server):
    return [headers.get("Authorization") for headers in server.seen]


@pytest.mark.parametrize("first", ["127.0.0.1", PUBLIC])
def test_credentials_stay_with_the_host_that_they_are_for(serve, tmp_path, monkeypatch, first):
    other = serve(PUBLIC)
    server = serve(first, go=f"{other.url}/rows.csv", stay="/rows.csv")
    monkeypatch.setenv("WORD", "p@ss/word")
    host = server.url.removeprefix("http://")
    login = f"Basic {base64.b64encode(b'ada:p@ss/word').decode()}"
    assert read(f"http://ada:${{WORD}}@{host}/go.csv", tmp_path) == ["1"]
    assert set(logins(server)) == {login}
    assert other.seen
    assert set(logins(other)) == {None}
    assert read(f"http://ada:${{WORD}}@{host}/stay.csv", tmp_path) == ["1"]
    assert set(logins(server)) == {login}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_a_public_server_leads_to_no_private_one_unless_said(serve, tmp_path, host):
    inner = serve("127.0.0.1")
    server = serve(PUBLIC, go=f"http://{host}:{inner.server_port}/rows.csv")
    with pytest.raises(
        DataError, match=r"redirects to .*this machine; where that is meant, write collect.private_redirects"
    ):
        read(f"{server.url}/go.csv", tmp_path)
    assert not inner.seen
    assert read(f"{server.url}/go.csv", tmp_path, private_redirects=True) == ["1"]


def test_fsspec_follows_the_same_rule(serve, tmp_path):
    pytest.importorskip("aiohttp")
    inner = serve("127.0.0.1")
    server = serve(PUBLIC, go=f"{inner.url}/rows.csv", over=f"{serve(PUBLIC).url}/rows.csv")
    with pytest.raises(DataError, match="redirects to 127"):
        read(f"fsspec:{server.url}/go.csv", tmp_path)
    assert not inner.seen
    with pytest.raises(DataError):
        read(f"fsspec:zip://rows.csv::{server.url}/go.csv", tmp_path)
    assert not inner.seen
    assert read(f"fsspec:{server.url}/over.csv", tmp_path) == ["1"]
    assert read(f"fsspec:{server.url}/go.csv", tmp_path, private_redirects=True) == ["1"]


def test_behind_a_proxy_the_same_rule_holds(serve, tmp_path, monkeypatch):
    inner = serve("127.0.0.1")
    proxy = serve("127.0.0.1", go="http://other.invalid/rows.csv", inside=f"{inner.url}/rows.csv")
    monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:word@"))
    monkeypatch.setenv("WORD", "gEhe1m")
    assert read("http://ada:${WORD}@first.invalid/go.csv", tmp_path) == ["1"]
    assert {headers["Host"] for headers in proxy.seen if "Authorization" in headers} == {"first.invalid"}
    with pytest.raises(DataError, match="redirects to 127"):
        read("http://first.invalid/inside.csv", tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert read("http://first.invalid/inside.csv", tmp_path, private_redirects=True) == ["1"]
    assert not any("Proxy-authorization" in headers for headers in inner.seen)


def test_a_name_that_resolves_to_a_private_address_counts_as_that(serve, tmp_path, monkeypatch):
    server = serve(PUBLIC, go="http://harmless.example:9/rows.csv")
    ask = _redirects.socket.getaddrinfo
    monkeypatch.setattr(
        _redirects.socket,
        "getaddrinfo",
        lambda host, *a, **k: ask(host.replace("harmless.example", "10.1.2.3"), *a, **k),
    )
    with pytest.raises(DataError, match=r"redirects to harmless.example, which is an address of a network that is not"):
        read(f"{server.url}/go.csv", tmp_path)


def test_a_local_server_may_lead_to_a_local_one(serve, tmp_path):
    other = serve("127.0.0.1")
    server = serve("127.0.0.1", go=f"{other.url}/rows.csv", there=f"http://localhost:{other.server_port}/rows.csv")
    assert read(f"{server.url}/go.csv", tmp_path) == ["1"]
    assert read(f"{server.url}/there.csv", tmp_path) == ["1"]


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/x.csv", "http://[fe80::1]/x.csv", "http://[fd00:ec2::254]/x.csv"]
)
def test_metadata_and_link_local_addresses_are_never_asked(serve, tmp_path, target):
    server = serve("127.0.0.1", go=target)
    with pytest.raises(DataError, match="redirects to"):
        read(f"{server.url}/go.csv", tmp_path, private_redirects=True)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x.csv", "/go.csv", "gopher://h/"])
def test_other_schemes_and_circles_end(serve, tmp_path, target):
    server = serve("127.0.0.1", go=target)
    with pytest.raises(DataError, match="it redirects"):
        read(f"{server.url}/go.csv", tmp_path)
    assert len(server.seen) < 15


def test_nothing_leads_from_https_to_http():
    check_schemes("http", "https", "x")
    with pytest.raises(DataError, match="from https to http"):
        check_schemes("https", "http", "x")


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("93.184.216.34", "public"),
        ("2606:4700::1111", "public"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "private"),
        ("fd12::1", "private"),
        ("fec0::1", "private"),
        ("127.9.9.9", "loopback"),
        ("::", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:a00:1::", "private"),
        ("169.254.169.254", "forbidden"),
        ("::ffff:169.254.169.254", "forbidden"),
        ("fe80::1%eth0", "forbidden"),
        ("224.0.0.1", "forbidden"),
    ],
)
def test_zones(address, zone):
    assert zone_of(address) == zone
