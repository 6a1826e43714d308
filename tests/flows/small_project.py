"""A pipeline in a git repository, as far as decisions and messages need one; and a web server that messages go to."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

YAML = "task: regression\ncollect: {uri: rows.csv}\npreprocess: {target: b}\nrelease: ask\n"


def lock(candidate: str) -> str:
    out = f"- {{path: models/store/churn/candidate, md5: {candidate}.dir}}"
    return f"schema: '2.0'\nstages:\n  train@churn:\n    cmd: x\n    outs:\n    {out}\n"


def metrics(verdict: str = "release", **released: float) -> dict:
    test = {"r2": {"value": 0.8, "low": 0.7, "high": 0.9}, "mae": {"value": 2.0, "low": 1.5, "high": 2.5}}
    value = {"verdict": verdict, "why": "It is better.", "test": test, "rows": 9}
    return value | ({"released": {"version": "v1.0.0", **released}} if released else {})


class Hook:
    """A web server that keeps what is posted to it, and refuses it while `status` is no 200."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.paths: list[str] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hook.status == 200:
                    hook.bodies.append(json.loads(body))
                    hook.paths.append(self.path)
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"json://127.0.0.1:{self.server.server_address[1]}/${{HOOK_KEY}}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def titles(self) -> list[str]:
        return [body["title"] for body in self.bodies]
