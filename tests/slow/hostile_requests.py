"""Bytes that a client may send to an endpoint: right requests, wrong ones of many kinds, and noise. All are seeded."""

import gzip
import json
from dataclasses import dataclass
from random import Random

from tests.stages.bombs import BOMBS

METHODS = ["GET", "PUT", "DELETE", "TRACE", "CONNECT", "OPTIONS", "HEAD", "get", "PRI", "A" * 5000, "POST", "Ä", ""]
SHORT_PATHS = """
/ /docs /healthz /openapi.json /digits /-/routes /-/healthz * // /% /%00 /%ff%fe /ä/predict /%2e%2e/%2e%2e/etc/passwd
/digits/predict/%0d%0aX: /digits//predict /digits/predict?x=% /../digits http://evil.example.org/digits/predict
/digits/predict#x /digits/predict;x /{{7*7}}/predict /<script>alert(1)</script> /%E2%80%AE/predict /\\digits"""
COMMON_NAMES = """
X-Request-ID x-request-timeout-seconds x-request-disconnect-disabled serve_multiplexed_model_id X-Session-ID Host Range
x-serve-router-a traceparent Cookie Accept User-Agent Origin Content-Length Transfer-Encoding Content-Encoding Upgrade
Content-Type Connection Expect X-Forwarded-For Forwarded X-Forwarded-Host Authorization TE Trailer Sec-WebSocket-Key"""
SHORT_WORDS = """
0 -1 1e999 chunked identity gzip close keep-alive websocket 100-continue null localhost text/plain evil.example.org ä
http://evil.example.org \xff\xfe %n%s bytes=0- 99999999999999999999"""
PATHS = [*SHORT_PATHS.split(), "/" + "a" * 20_000, "/a" * 5_000]
NAMES = COMMON_NAMES.split()
WORDS = [*SHORT_WORDS.split(), "", "\t", "a" * 300, "a" * 70_000, "application/json; charset=\xff"]
SCALARS = [None, True, False, 0, -1, 10**30, -(10**4000), 1e308, -1e-308, "", "a", "\ud800", "\0", "1", "ä" * 50,
           "a" * 5000]  # fmt: skip
NOISE = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\r\n",
         b"\0" * 100, b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"POST", b"\r\n" * 50,
         b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n"]  # fmt: skip


@dataclass
class Hostile:
    """What one connection sends; `is_valid` where the answer must be 200, `leaves` where the client then hangs up."""

    data: bytes
    is_valid: bool = False
    leaves: bool = False


def request(body=b"", method="POST", path="/digits/predict", headers=(), length=None):
    """A whole request; `headers` come after the usual ones, or instead of those of the same name."""
    said = {name.lower() for name, _ in headers}
    usual = [("Host", "localhost"), ("Content-Type", "application/json"), ("Connection", "close")]
    usual.append(("Content-Length", str(len(body) if length is None else length)))
    lines = [f"{method} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in [o for o in usual if o[0].lower() not in said])]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def hostile_requests(seed, number, examples):
    """Yield `number` requests for the pipelines of {name: row}, a third of them valid."""
    random = Random(seed)
    bodies = {name: json.dumps({"rows": [row] * 3}).encode() for name, row in examples.items()}
    bombs = [(name, body.encode()) for name, body, *_ in BOMBS.values()]
    kinds = [odd_body, odd_values, odd_headers, odd_line, odd_chunks, odd_length, noise, upgrade, pipelined, zipped]
    for turn in range(number):
        name = random.choice(sorted(bodies))
        if turn % 100 == 50:
            pipeline, body = bombs[turn // 100 % len(bombs)]
            yield Hostile(request(body, path=f"/{pipeline}/predict"))
        elif turn % 3 == 0:
            yield Hostile(request(bodies[name], path=f"/{name}/predict"), is_valid=True)
        else:
            found = random.choice(kinds)(random, name, bodies[name], examples[name])
            found.leaves = found.leaves or random.random() < 0.1
            yield found


def odd_body(random, name, body, row):
    """A body with bytes changed, cut out or doubled."""
    data = bytearray(body)
    for _ in range(random.randint(1, 8)):
        place = random.randrange(len(data) or 1)
        what = random.randrange(3)
        if what == 0 and data:
            data[place] = random.randrange(256)
        elif what == 1:
            del data[place : place + random.randrange(20)]
        else:
            data[place:place] = data[place : place + random.randrange(200)]
    return Hostile(request(bytes(data), path=f"/{name}/predict"))


def odd_values(random, name, body, row):
    """Right JSON of wrong values."""
    row = dict(row)
    for _ in range(random.randint(1, 3)):
        row[random.choice([*row, "rows", "x", ""])] = value(random, 4)
    found = random.choice([{"rows": [row, row]}, row, {"rows": row}, [row], {"rows": [row], "x": 1}, value(random, 5)])
    return Hostile(request(json.dumps(found).encode(), path=f"/{name}/predict"))


def value(random, depth):
    """Any JSON value."""
    what = random.randrange(4) if depth else 0
    if what == 1:
        return [value(random, depth - 1) for _ in range(random.randrange(5))]
    if what == 2:
        return {str(random.choice(SCALARS))[:50]: value(random, depth - 1) for _ in range(random.randrange(5))}
    return random.choice(SCALARS)


def odd_headers(random, name, body, row):
    """Headers with strange names and values, of those that servers look at and of others."""
    headers = []
    for _ in range(random.choice([1, 1, 1, 2, 3, 120])):
        odd = "".join(map(chr, random.choices(range(1, 256), k=random.randrange(1, 12))))
        title = random.choice(NAMES) if random.random() < 0.9 else odd
        text = random.choice(WORDS) if random.random() < 0.6 else odd.replace("\r", "").replace("\n", "")
        headers.append((title, text))
    return Hostile(request(body, path=f"/{name}/predict", headers=headers))


def odd_line(random, name, body, row):
    """Strange methods and paths."""
    path = random.choice(PATHS) if random.random() < 0.7 else f"/{name}/predict"
    return Hostile(request(body, method=random.choice(METHODS), path=path))


def odd_chunks(random, name, body, row):
    """A chunked body whose sizes are wrong, or right."""
    half = len(body) // 2
    sizes = random.choice([(half, len(body) - half)] * 2 + [(half + 1, len(body)), (-1, 5), (2**64, 0), (0, half)])
    parts = [
        f"{size:x}".encode() + b"\r\n" + part + b"\r\n"
        for size, part in zip(sizes, (body[:half], body[half:]), strict=True)
    ]
    end = random.choice([b"0\r\n\r\n"] * 3 + [b"", b"0\r\n", b"zz\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"\r\n" * 9])
    return Hostile(request(b"".join(parts) + end, path=f"/{name}/predict", headers=[("Transfer-Encoding", "chunked")]))


def odd_length(random, name, body, row):
    """A body that is shorter or longer than was said; of a shorter one the client does not wait for the rest."""
    length = random.choice([0, 1, len(body) - 1, len(body) + 1, 10**6, 10**15])
    return Hostile(request(body, path=f"/{name}/predict", length=length), leaves=len(body) < length < 10**7)


def noise(random, name, body, row):
    """No HTTP at all."""
    return Hostile(random.choice([*NOISE, random.randbytes(random.randrange(1, 500))]), leaves=True)


def upgrade(random, name, body, row):
    """A web socket, or a wish for another protocol."""
    wish = [("Upgrade", random.choice(["websocket", "h2c", "x"])), ("Connection", "Upgrade")]
    key = [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Version", random.choice(["13", "99"]))]
    path = random.choice([f"/{name}/predict", "/", "/docs"])
    return Hostile(request(method="GET", path=path, headers=[*wish, *key]), leaves=random.random() < 0.5)


def pipelined(random, name, body, row):
    """Several requests before the first answer."""
    whole = [request(body, path=f"/{name}/predict", headers=[("Connection", "keep-alive")])] * random.randint(1, 4)
    return Hostile(b"".join(whole) + request(method="GET", path=random.choice(["/healthz", "/", "/docs"])))


def zipped(random, name, body, row):
    """A compressed body, which is not taken."""
    data = gzip.compress(random.choice([body, b" " * 10**6]))
    said = random.choice([[("Content-Encoding", "gzip")], [], [("Content-Encoding", "deflate, gzip")]])
    return Hostile(request(data, path=f"/{name}/predict", headers=said))
