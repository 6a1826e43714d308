"""Files on a server that fails, breaks off and changes its mind arrive whole, once, or with one clear message."""

import gzip
import http.server
import itertools
import threading

import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data.sources import _remote as remote
from evergreen.data.sources import open_source
from evergreen.data.sources._files import HOME

ROWS = 3000
CONTENT = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n % 977) for n in range(ROWS)), mtime=0)


class Server(http.server.ThreadingHTTPServer):
    """Answer with `content`; every `fails`-th request fails, and no answer has more than `most` bytes.

    The first `garbled` answers are no HTTP.
    """

    content, stamp, fails, most, resumes, garbled = CONTENT, '"1"', 0, 0, True, 0

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.count = [], itertools.count(1)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def uri(self, path="rows.csv.gz"):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(self.server.content)

    def answer(self, content):
        server = self.server
        server.asked.append((self.command, self.headers.get("Range")))
        if server.garbled:
            server.garbled -= 1
            self.wfile.write(b"what is a status?\r\n")
            self.close_connection = True
            return
        if server.fails and not next(server.count) % server.fails:
            self.send_error(503)
            return
        if self.path.startswith("/none"):
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if server.resumes else 0
        self.send_response(206 if start else 200)
        if server.stamp:
            self.send_header("ETag", server.stamp)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + server.most] if server.most else content[start:])
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    one = Server()
    yield one
    one.shutdown()
    one.server_close()


def read(uri, root):
    return pa.Table.from_batches(list(open_source(uri, root).read()))


def left(root):
    return [path for path in (root / HOME / "fetched").rglob("*") if not path.is_dir()]


def test_a_file_is_read_by_its_ending_and_nothing_of_it_stays(server, tmp_path):
    table = read(server.uri(), tmp_path)
    assert table["a"].to_pylist() == [str(n) for n in range(ROWS)]
    assert table["_origin"][0].as_py() == "rows.csv.gz#2"
    assert left(tmp_path) == []


def test_every_fifth_request_fails_and_every_answer_breaks_off(server, tmp_path):
    server.fails, server.most = 5, 1500
    assert read(server.uri(), tmp_path)["a"].to_pylist() == [str(n) for n in range(ROWS)]
    parts = [part for command, part in server.asked if command == "GET"]
    assert parts.count(None) == 1  # it went on each time
    assert len(parts) >= len(CONTENT) / 1500


def test_answers_that_are_no_http_are_asked_for_again(server, tmp_path):
    server.garbled = 2
    assert pa.Table.from_batches(open_source(server.uri(), tmp_path).read()).num_rows == ROWS
    assert not server.garbled


@pytest.mark.parametrize("error", [TimeoutError(), PermissionError()])
def test_an_error_without_words_is_called_by_its_name(server, error):
    def fails():
        raise error

    with pytest.raises(DataError, match=type(error).__name__):
        remote.retry(fails, "s3://there")


def test_a_server_that_cannot_resume_is_read_past_what_is_here(server, tmp_path):
    server.most = len(CONTENT) - 100
    server.resumes = False
    with pytest.raises(ConnectionError):
        read(server.uri(), tmp_path)
    server.most = 0
    assert len(read(server.uri(), tmp_path)) == ROWS


def test_what_was_fetched_before_a_kill_is_not_fetched_again(server, tmp_path, monkeypatch):
    server.most = 4000
    monkeypatch.setattr(remote.time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        read(server.uri(), tmp_path)
    server.most = 0
    assert len(read(server.uri(), tmp_path)) == ROWS
    assert server.asked[-1] == ("GET", "bytes=4000-")


def test_half_of_one_version_is_never_joined_to_half_of_another(server, tmp_path, monkeypatch):
    server.most = 4000
    monkeypatch.setattr(remote.time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        read(server.uri(), tmp_path)
    server.most, server.stamp, server.content = 0, '"2"', gzip.compress(b"a,b\n7,7\n")
    assert read(server.uri(), tmp_path)["a"].to_pylist() == ["7"]
    assert left(tmp_path) == []


def test_the_fingerprint_is_what_the_server_says_else_the_content(server, tmp_path):
    first = open_source(server.uri(), tmp_path).fingerprint()
    assert [command for command, _ in server.asked] == ["HEAD"]
    server.stamp = '"2"'
    assert open_source(server.uri(), tmp_path).fingerprint() != first
    server.stamp = ""
    silent = open_source(server.uri(), tmp_path).fingerprint()
    assert open_source(server.uri(), tmp_path).fingerprint() == silent
    server.content = gzip.compress(b"a,b\n7,7\n")
    assert open_source(server.uri(), tmp_path).fingerprint() != silent


def test_mistakes_are_said_at_once_and_outages_may_be_tried_again(server, tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read(server.uri("none.csv"), tmp_path)
    assert len(server.asked) == 1
    with pytest.raises(DataError, match="the address holds a password"):
        read(server.uri().replace("//", "//ada:secret@"), tmp_path)
    with pytest.raises(DataError, match="there is no source for 'xyz'"):
        read(server.uri("rows.xyz"), tmp_path)
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match="does not answer after 6 tries") as caught:  # Prefect's steps retry those
        read(server.uri(), tmp_path)
    assert isinstance(caught.value, DataError)
    assert caught.value.fix


def test_any_file_system_of_fsspec_and_any_format(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/shop/2.jsonl", b'{"a": 3}\n')
    memory.pipe("/shop/1.jsonl.gz", gzip.compress(b'{"a": 1}\n{"a": 2}\n'))
    memory.pipe("/shop/_SUCCESS", b"")
    source = open_source("fsspec:memory://shop", tmp_path)
    assert [file.name for file in source.files()] == ["1.jsonl.gz", "2.jsonl"]
    assert read("fsspec:memory://shop", tmp_path)["a"].to_pylist() == [1, 2, 3]
    assert pa.Table.from_batches(list(source.with_files(["2.jsonl"]).read()))["_origin"].to_pylist() == ["2.jsonl#1"]
    memory.rm("/shop", recursive=True)
