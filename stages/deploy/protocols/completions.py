"""The part of OpenAI's API that language models need: `/v1/models`, `/v1/completions`, `/v1/chat/completions`.

https://platform.openai.com/docs/api-reference. The model is a pipeline's name, the prompt its one column of text. The
messages of a chat are written one after the other: pipelines learn no roles.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import DataError, suggest
from evergreen.stages.deploy.request_body import JSON, RequestError, check_type, parse_object
from evergreen.stages.deploy.responses import json_response
from evergreen.stages.deploy.server_events import send_events
from evergreen.stages.deploy.text_streams import OPTIONS, TextStream, read_sampling

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.loaded_version import LoadedVersion, Parsed
    from evergreen.stages.deploy.protocols import Call, Handler

KNOWN = {"model", "prompt", "messages", "stream", "stream_options", "user", "max_completion_tokens", *OPTIONS}
ONES = {"n": 1, "best_of": 1}  # what else may be said, for it changes nothing
DONE = "[DONE]"


def _answer(handler: Handler) -> Handler:
    """Let a handler's refusals look as OpenAI's."""

    @wraps(handler)
    async def answer(endpoint: Endpoint, call: Call) -> Response:
        try:
            return await handler(endpoint, call)
        except (RequestError, DataError) as error:
            status, headers = (error.status, error.headers) if isinstance(error, RequestError) else (422, {})
            about = {"message": str(error), "type": "invalid_request_error", "param": None, "code": None}
            return json_response({"error": about, "request_id": call.request_id}, status, headers)

    return answer


async def list_models(endpoint: Endpoint, call: Call) -> Response:
    """List the pipelines that write on texts, of those that the key is for."""
    allowed = call.caller.pipelines or endpoint.served
    models = [_describe(name) for name, one in sorted(endpoint.served.items()) if name in allowed and _text_column(one)]
    return json_response({"object": "list", "data": models})


async def show_model(endpoint: Endpoint, call: Call) -> Response:
    """Describe one of them."""
    name = call.names["model"]
    _find(endpoint, call, name)
    return json_response(_describe(name))


async def complete(endpoint: Endpoint, call: Call) -> Response:
    """Continue prompts."""
    return await _Completion(endpoint, call, is_chat=False).respond()


async def complete_chat(endpoint: Endpoint, call: Call) -> Response:
    """Continue the messages of a chat."""
    return await _Completion(endpoint, call, is_chat=True).respond()


@dataclass
class _Completion:
    """Answer one request."""

    endpoint: Endpoint
    call: Call
    is_chat: bool
    n_prompt_tokens: int = 0

    async def respond(self) -> Response:
        """Return the texts, or a stream of events while they are written."""
        check_type(self.call.headers, (JSON,))
        limits = _loosest_limits(self.endpoint)
        async with self.endpoint.bodies.read(self.call, limits) as body:
            request = parse_object(body, limits, 'send {"model": …, "prompt": …}')
        self.name = str(request.get("model"))
        self.served, column = _find(self.endpoint, self.call, self.name)
        if extra := [key for key, value in request.items() if key not in KNOWN and value and value != ONES.get(key)]:
            raise RequestError(400, f"{extra[0]:.80} is not supported", fix="leave it out")
        wishes = {**request, "max_tokens": request.get("max_tokens") or request.get("max_completion_tokens")}
        sampling = read_sampling(wishes, self.served)
        prompts = [_join_messages(request)] if self.is_chat else _read_prompts(request, self.served.limits["max_rows"])
        parsed = self.served.read_rows([{column: prompt} for prompt in prompts])
        self.call.caller.spend("rows_per_minute", len(prompts))
        self.n_prompt_tokens = self._count_tokens(parsed)
        streams = [
            TextStream(self.endpoint, self.call, self.name, self.served, parsed.slice(row, 1), sampling)
            for row in range(len(prompts))
        ]
        if request.get("stream"):
            options = request.get("stream_options")
            has_usage = isinstance(options, dict) and bool(options.get("include_usage"))
            return await send_events(self._events(streams, has_usage=has_usage))
        choices = []
        for index, stream in enumerate(streams):
            text = await stream.read_all()
            said = {"message": {"role": "assistant", "content": text}} if self.is_chat else {"text": text}
            choices.append(_choice(index, said, stream.finish_reason))
        kind = "chat.completion" if self.is_chat else "text_completion"
        return json_response({**self._head(kind), "choices": choices, "usage": self._usage(streams)})

    async def _events(self, streams: Sequence[TextStream], *, has_usage: bool) -> AsyncGenerator[Any, None]:
        head = self._head("chat.completion.chunk" if self.is_chat else "text_completion")
        for index, stream in enumerate(streams):
            role = {"role": "assistant"}  # said once
            async for text in stream.pieces():
                said = {"delta": {**role, "content": text}} if self.is_chat else {"text": text}
                role = {}
                yield {**head, "choices": [_choice(index, said)]}
            last = {"delta": role} if self.is_chat else {"text": ""}
            yield {**head, "choices": [_choice(index, last, stream.finish_reason)]}
        if has_usage:
            yield {**head, "choices": [], "usage": self._usage(streams)}
        yield DONE

    def _head(self, kind: str) -> dict[str, Any]:
        about = {"id": self.call.request_id, "object": kind, "created": int(time.time()), "model": self.name}
        return {**about, "system_fingerprint": self.served.version}

    def _usage(self, streams: Sequence[TextStream]) -> dict[str, int]:
        written = sum(stream.n_tokens for stream in streams)
        counts = {"prompt_tokens": self.n_prompt_tokens, "completion_tokens": written}
        return {**counts, "total_tokens": self.n_prompt_tokens + written}

    def _count_tokens(self, parsed: Parsed) -> int:
        spec = self.served.model.spec
        tokens = spec.encode(parsed.table, target=False)[next(iter(spec.inputs))]
        return int((tokens != 0).sum())


def _choice(index: int, said: Mapping[str, Any], reason: str = "") -> dict[str, Any]:
    return {"index": index, **said, "finish_reason": reason or None, "logprobs": None}


def _describe(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "evergreen"}


def _find(endpoint: Endpoint, call: Call, name: str) -> tuple[LoadedVersion, str]:
    """Return the version of a pipeline and its column of text. Raises RequestError (400, 403, 404)."""
    call.caller.check(name)
    served, call.names = endpoint.find(name), {"pipeline": name}
    column = _text_column(served)
    if not column:
        writers = [one for one, other in sorted(endpoint.served.items()) if _text_column(other)]
        raise RequestError(400, f"{name} does not write texts on", fix=suggest(name, writers, "models"))
    return served, column


def _text_column(served: LoadedVersion) -> str:
    """Return the one column of a pipeline whose text is written on; "" where it is no such pipeline."""
    task, columns = served.model.network.task, served.model.spec.columns
    return columns[0] if served.writes_text and task.TARGET_IS_INPUT and len(columns) == 1 else ""


def _loosest_limits(endpoint: Endpoint) -> Mapping[str, Any]:
    """Return the limits of the pipeline that takes the longest body: which one is asked stands in it."""
    if not endpoint.served:
        raise RequestError(404, "nothing is served", fix="release a pipeline first")
    return max((one.limits for one in endpoint.served.values()), key=lambda limits: int(limits["max_body_bytes"]))


def _read_prompts(request: Mapping[str, Any], max_rows: int) -> list[str]:
    given = request.get("prompt")
    prompts: list[Any] = given if isinstance(given, list) else [given]
    if not 0 < len(prompts) <= max_rows or not all(isinstance(one, str) for one in prompts):
        raise RequestError(400, "prompt is no text", fix=f"send a text, or a list of up to {max_rows}")
    return prompts


def _join_messages(request: Mapping[str, Any]) -> str:
    """Return the texts of a chat's messages, a line each."""
    messages = request.get("messages")
    messages = messages if isinstance(messages, list) else []
    texts: list[Any] = [one.get("content") for one in messages if isinstance(one, dict)]
    if not texts or not all(isinstance(one, str) for one in texts):
        raise RequestError(400, "messages hold no texts", fix='send [{"role": "user", "content": "…"}, …]')
    return "\n".join(texts)


ROUTES = {
    "/v1/models": {"GET": list_models},
    "/v1/models/{model}": {"GET": _answer(show_model)},
    "/v1/completions": {"POST": _answer(complete)},
    "/v1/chat/completions": {"POST": _answer(complete_chat)},
}
