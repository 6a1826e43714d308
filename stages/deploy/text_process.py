"""Write the texts of a version in a child process of the replica, which answers other pipelines meanwhile.

Writing holds Python's lock for most of the time, a token after the other. The process starts when the first text is
asked for; until it answers, and where it dies, the replica goes on by itself, so no request is lost by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from evergreen.stages.deploy.request_body import JSON
from evergreen.stages.deploy.server_events import CONTENT_TYPE
from evergreen.stages.deploy.version_process import CALLER, ROLE, VersionProcess, VersionProcessError
from evergreen.stages.request_files import PRODUCTION

if TYPE_CHECKING:
    import pyarrow as pa

    from evergreen.models.answers import Objects
    from evergreen.models.text_stream import Piece, Sampling
    from evergreen.stages.deploy.loaded_version import LoadedVersion

HEADERS = {"content-type": JSON, CALLER: "", ROLE: PRODUCTION}


class TextProcess(VersionProcess):
    """Hold the process that writes the texts of one version in production."""

    def __init__(self, name: str, entry: Mapping[str, Any]) -> None:
        """Start nothing yet; the process logs nothing and has no limit of memory, as the replica has none."""
        super().__init__({"name": name, "entry": entry, "role": PRODUCTION, "home": "", "traces": "", "max_bytes": 0})
        self.n_asked = 0  # that are being answered
        self.starting: asyncio.Task[None] | None = None
        self.retiring: asyncio.Task[None] | None = None

    async def answer(self, table: pa.Table) -> Objects:
        """Return the answers to rows. Raises VersionProcessError where the process gives none."""
        parts = [part async for part in self._ask(table, {}, {})]
        answers: Objects = json.loads("".join(parts))["predictions"]
        return answers

    async def write(self, table: pa.Table, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Yield the text that answers one row. Raises VersionProcessError where the process stops."""
        from evergreen.models.text_stream import Piece

        given = {name: value for name, value in dataclasses.asdict(sampling).items() if value is not None}
        n_pieces = 0
        async with contextlib.aclosing(self._ask(table, given, {"accept": CONTENT_TYPE})) as lines:
            async for line in lines:
                event = json.loads(line.removeprefix("data: "))
                n_pieces += 1
                if "text" not in event:
                    yield Piece("", event["tokens"], event["finish_reason"])
                    return
                yield Piece(event["text"], n_pieces)
        raise VersionProcessError("its process stopped writing")

    async def _ask(
        self, table: pa.Table, query: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncGenerator[str, None]:
        """Yield the lines of the answer to rows."""
        import httpx

        if self.starting is None:
            self.starting = asyncio.create_task(self.start())
        if self.problem or self.client is None:
            raise VersionProcessError(self.problem)
        try:
            body = json.dumps({"rows": table.to_pylist()})
        except TypeError:  # bytes, of a file
            raise VersionProcessError("its rows are not sent") from None
        self.n_asked += 1
        try:
            path, sent = f"/{self.config['name']}/predict", HEADERS | dict(headers)
            async with self.client.stream("POST", path, params=query, headers=sent, content=body) as answer:
                if answer.status_code != 200:
                    raise VersionProcessError(f"status {answer.status_code}: {(await answer.aread())[:200]!r}")
                async for line in answer.aiter_lines():
                    if line:
                        yield line
        except httpx.HTTPError:
            self._revive()
            raise VersionProcessError("its process died") from None
        finally:
            self.n_asked -= 1

    async def retire(self) -> None:
        """End the process once nobody waits for it."""
        if self.starting is not None:
            await asyncio.wait([self.starting])
        while self.n_asked:
            await asyncio.sleep(0.1)
        await asyncio.to_thread(self.close)


def update_texts(before: Mapping[str, LoadedVersion], served: Mapping[str, LoadedVersion], *, are_apart: bool) -> None:
    """Give each version that writes texts its process; those of versions that went end with their last answers."""
    for name, one in served.items():
        if are_apart and one.writes_text and one.texts is None:
            one.texts = TextProcess(name, one.entry)
    for name, one in before.items():
        if one.texts and one is not served.get(name):
            one.texts.retiring = asyncio.create_task(one.texts.retire())
