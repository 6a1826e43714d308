"""Build an OpenAPI 3.1 document from the specs of the served models, and an HTML page that shows it.

The page is one file without scripts or links to other hosts, so it works on a machine without a network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from evergreen.stages.deploy.form_data import CONTENT_TYPE as FORM
from evergreen.stages.deploy.formats import formats
from evergreen.stages.deploy.request_body import JSON
from evergreen.stages.deploy.server_events import CONTENT_TYPE as EVENTS

if TYPE_CHECKING:
    from evergreen.stages.deploy.loaded_version import LoadedVersion

ADDRESS = "http://ENDPOINT.invalid"  # stands in the page where the endpoint's address is to be
JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
REFUSALS = {
    "400": "the body is not JSON, or a coverage cannot be held",
    "401": "an API key is needed, and none that is known was sent",
    "403": "the key is not for this pipeline, or a web page of another host asks",
    "404": "there is no such pipeline",
    "408": "the body does not arrive in time",
    "413": "the body, or what it decodes to, is larger than may be",
    "415": "the content type is not one of these",
    "421": "the request names a host that is not the endpoint's",
    "422": "a field is missing, of the wrong type or shape, too large, or not a finite number",
    "429": "too much waits, or a limit of the key is used up; Retry-After says when to come again",
    "507": "the disk is full",
}
COVERAGE = {
    "name": "coverage", "in": "query", "required": False,
    "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "description": "share of rows for which low and high, or the set of classes, are to hold",
}  # fmt: skip
EXPLAIN = {
    "name": "explain", "in": "query", "required": False, "schema": {"type": "integer", "enum": [0, 1]},
    "description": "1 adds to each answer how much each column speaks for it, or why that is not known",
}  # fmt: skip
WRITING = [
    {"name": name, "in": "query", "required": False, "schema": {"type": kind}, "description": text}
    for name, kind, text in (
        ("max_tokens", "integer", "length of the text at most"),
        ("temperature", "number", "how boldly tokens are drawn, 0 to 2; 0 takes the likeliest"),
        ("top_p", "number", "probability of the likeliest tokens that one is drawn from"),
        ("stop", "string", "a text before which it ends"),
        ("seed", "integer", "the same one writes the same text"),
    )
]
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1a2b22;
background:#fbfdfb}
h1{margin-bottom:0}h2{margin:2.2rem 0 .4rem}h2 span{font:600 .8rem monospace;color:#fff;background:#2f7d4f;
border-radius:.3rem;padding:.15rem .5rem;margin-right:.5rem;vertical-align:middle}h2 span.get{background:#35679a}
p{margin:.4rem 0}code,pre{font:.85rem/1.45 ui-monospace,monospace}pre{background:#eef4ef;border-radius:.4rem;
padding:.7rem .9rem;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}td,th{text-align:left;
padding:.25rem .8rem .25rem 0;border-bottom:1px solid #dbe7de;vertical-align:top}summary{cursor:pointer}
"""


class Documents:
    """Render what describes a set of served pipelines, each text once."""

    def __init__(self, served: Mapping[str, LoadedVersion]) -> None:
        self.served = served

    @cached_property
    def schema(self) -> str:
        """Return the OpenAPI document as JSON."""
        return json.dumps(build_document(self.served), allow_nan=False, separators=(",", ":"))

    @cached_property
    def page(self) -> str:
        """Return the HTML page, with ADDRESS for the endpoint's address."""
        return render_page(build_document(self.served), ADDRESS)


def build_document(served: Mapping[str, LoadedVersion]) -> dict[str, Any]:
    """Build the OpenAPI document of the pipelines that are served now."""
    paths: dict[str, Any] = {
        "/": {"get": _get("The pipelines that are served")},
        "/healthz": {"get": _get("The version of each pipeline; 503 while nothing is loaded")},
    }
    schemas: dict[str, Any] = {"Error": _object(error={"type": "string"}, request_id={"type": "string"})}
    for name, version in sorted(served.items()):
        schemas[name] = version.schema
        paths[f"/{name}"] = {"get": _get(f"What {name} is: architecture, version, scores, fields of a row")}
        paths[f"/{name}/predict"] = {"post": _predict(name, version)}
    info = {"title": "Evergreen", "version": "1", "description": "Predictions of the released models."}
    components = {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    security: list[dict[str, Any]] = [{}, {"key": []}]  # where there are API keys
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components, "security": security}


def _get(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": _content("the description as JSON", {"type": "object"})}}


def _predict(name: str, loaded: LoadedVersion) -> dict[str, Any]:
    row = {"$ref": f"#/components/schemas/{name}"}
    max_rows = loaded.limits["max_rows"]
    batch = _object(rows={"type": "array", "items": row, "minItems": 1, "maxItems": max_rows})
    example = {"example": {"rows": [loaded.schema["example"]]}} if "example" in loaded.schema else {}
    body: dict[str, Any] = {one: {} for one in (*formats(), FORM)} | {
        JSON: {"schema": {"oneOf": [batch, row]}, **example}
    }
    answer = _object(
        version={"type": "string", "example": loaded.version},
        request_id={"type": "string"},
        predictions={
            "type": "array",
            "items": _object(**{name: _infer_schema(value) for name, value in loaded.example_answer.items()}),
        },
    )
    responses = {"200": _content("one prediction per row, in the order of the rows", answer)}
    if loaded.writes_text:
        responses["200"]["content"][EVENTS] = {}
    responses |= {code: _content(text, {"$ref": "#/components/schemas/Error"}) for code, text in REFUSALS.items()}
    return {
        "summary": f"{loaded.model.card.get('task', 'prediction')}: what is {loaded.model.spec.target_name}?",
        "description": f'Answers rows with {name} {loaded.version}; send {{"rows": […]}} or one row alone.',
        "parameters": [
            {"name": "X-Request-ID", "in": "header", "required": False, "schema": {"type": "string"},
             "description": "is returned with the answer; generated if left out"},
            *([COVERAGE] if loaded.coverage else []),
            *([] if loaded.writes_text else [EXPLAIN]),
            *(WRITING if loaded.writes_text else []),
        ],
        "requestBody": {"required": True, "content": body},
        "responses": responses,
    }  # fmt: skip


def _infer_schema(value: Any) -> dict[str, Any]:
    """Infer a JSON schema from an example value."""
    if isinstance(value, dict):
        properties = {name: _infer_schema(inner) for name, inner in value.items()}
        schemas = [*properties.values()]
        is_uniform = len(schemas) > 1 and all(schema == schemas[0] for schema in schemas)  # a probability of each class
        return {"type": "object", "additionalProperties": schemas[0]} if is_uniform else _object(**properties)
    if isinstance(value, list):
        return {"type": "array", "items": _infer_schema(value[0]) if value else {}}
    return {"type": JSON_TYPES[type(value)]} if type(value) in JSON_TYPES else {}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _content(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def render_page(document: Mapping[str, Any], url: str) -> str:
    """Render the document as HTML, with a curl command per pipeline; `url` is the endpoint's address."""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{document['info']['title']}: the endpoint</title>",
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>",
        f"<h1>{document['info']['title']}</h1><p>{document['info']['description']} "
        "<a href=/try>try one</a> · <a href=/openapi.json>openapi.json</a> · <a href=/healthz>healthz</a></p>",
    ]
    operations = [(path, *item) for path, methods in document["paths"].items() for item in methods.items()]
    for path, method, operation in sorted(operations, key=lambda one: one[1] != "post"):
        parts.append(f"<h2><span class={method}>{method.upper()}</span><code>{escape(path)}</code></h2>")
        parts.append(f"<p>{escape(operation['summary'])}</p>")
        if method == "post":
            parts += _details(path, operation, document, url)
    return "\n".join(parts) + "\n</html>\n"


def _details(path: str, operation: Mapping[str, Any], document: Mapping[str, Any], url: str) -> list[str]:
    content = operation["requestBody"]["content"]["application/json"]
    row = document["components"]["schemas"][path.split("/")[1]]
    fields = _table((f"<code>{escape(name)}</code>", escape(_type(one))) for name, one in row["properties"].items())
    answer = json.dumps(operation["responses"]["200"]["content"]["application/json"]["schema"], indent=1)
    codes = _table((code, escape(one["description"])) for code, one in operation["responses"].items())
    shown = []
    if "example" in content:
        body = json.dumps(content["example"], ensure_ascii=False).replace("'", "\\u0027")
        curl = f"curl {url}{path} -H 'Content-Type: application/json' -d '{body}'"
        shown = [f"<pre>{escape(curl)}</pre>"]
    return [
        f"<p>{escape(operation['description'])}</p>",
        *shown,
        f"<details open><summary>a row</summary>{fields}</details>",
        f"<details><summary>an answer</summary><pre>{escape(answer)}</pre></details>",
        f"<details><summary>status codes</summary>{codes}</details>",
    ]


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><td>{left}<td>{right}" for left, right in rows) + "</table>"


def _type(schema: Mapping[str, Any]) -> str:
    """Describe a field's schema in a few words: 8 × 8 numbers, number, text, one of a, b, c."""
    sizes = []
    while schema.get("type") == "array":
        sizes.append(str(schema.get("maxItems", "any number of")))
        schema = schema["items"]
    if "enum" in schema:
        values = [str(value) for value in schema["enum"][:12]]
        return "one of " + ", ".join(values) + (" …" if len(schema["enum"]) > 12 else "")
    kind = schema.get("type", "value")
    word = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{' × '.join(sizes)} {word}s" if sizes else word
