"""Find the protocols of the endpoint: what it answers at which address, one file each.

A protocol is a module here with `ROUTES`, {address: {method: handler}}. A word of an address in braces stands for any
one: the handler reads it in `call.names`. `OPEN` lists the addresses that answer without a key, `SPLIT` those of which
a version beside the one in production may answer a part. One more protocol is one more file.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from evergreen.stages.deploy.api_keys import STRANGER, Caller
from evergreen.stages.deploy.request_body import RequestError
from evergreen.stages.request_files import PRODUCTION

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Message

    from evergreen.stages.deploy.endpoint import Endpoint

LISTS = ("OPEN", "SPLIT")


@dataclass(slots=True)
class Call:
    """One request: what was sent, its id, the words that its address names, who asks, and what is called at its end."""

    request: Request
    headers: Mapping[str, str]  # of each name the last one; looking one up in the request's takes as long as a regex
    request_id: str
    names: Mapping[str, str] = field(default_factory=dict)
    caller: Caller = STRANGER
    role: str = PRODUCTION
    version: str = ""  # that answered, where it is not the one in production
    traceparent: str = ""  # of the answer
    ends: list[Callable[[], object]] = field(default_factory=list)

    @property
    def query(self) -> Mapping[str, str]:
        """Return what the address asks for behind its question mark; most ask nothing, and to parse that takes time."""
        return self.request.query_params if self.request.scope.get("query_string") else {}

    def replay(self, body: bytes) -> None:
        """Let a handler read a body that was read before and is unpacked."""
        from starlette.requests import Request

        scope, receive, parts = self.request.scope, self.request.receive, [body]

        async def receive_again() -> Message:
            return {"type": "http.request", "body": parts.pop()} if parts else await receive()

        self.request = Request(scope, receive_again)
        kept = {name: value for name, value in self.headers.items() if name != "content-encoding"}
        self.headers = kept | {"content-length": str(len(body))}


Handler = Callable[["Endpoint", Call], Awaitable["Response"]]
Route = tuple[tuple[str, ...], Mapping[str, Handler], frozenset[str]]  # words, methods, the lists that hold it


def names() -> list[str]:
    """Return the names of all protocols, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@lru_cache(maxsize=1024)
def find_handler(path: str, method: str) -> tuple[Handler, Mapping[str, str], frozenset[str]]:
    """Return what answers a path, the words that its address names, and which of the LISTS of addresses hold it.

    Raises RequestError (404, 405).
    """
    words = tuple(word for word in path.split("/") if word)
    for address, methods, lists in _routes().get(len(words), ()):
        if all(one == word or one[0] == "{" for one, word in zip(address, words, strict=True)):
            handler = methods.get("GET" if method == "HEAD" else method)
            if handler is None:
                allowed = ", ".join(methods) + ", HEAD" * ("GET" in methods)
                problem = f"{method:.20} is not possible at {path:.80}"
                raise RequestError(405, problem, fix=f"use {allowed}", headers={"Allow": allowed})
            named = {one[1:-1]: word for one, word in zip(address, words, strict=True) if one[0] == "{"}
            return handler, named, lists
    raise RequestError(404, f"there is no page at {path:.80}", fix="see /docs")


@cache
def _routes() -> dict[int, list[Route]]:
    """Return the routes of all protocols by their number of words; one that names a word comes before any word."""
    routes: dict[int, list[Route]] = {}
    for name in names():
        module = import_module(f"{__name__}.{name}")
        for address, methods in module.ROUTES.items():
            words = tuple(word for word in address.split("/") if word)
            lists = frozenset(one for one in LISTS if address in getattr(module, one, ()))
            routes.setdefault(len(words), []).append((words, methods, lists))
    return {
        length: sorted(some, key=lambda route: [word[0] == "{" for word in route[0]]) for length, some in routes.items()
    }
