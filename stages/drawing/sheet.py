"""A whole page: self-contained HTML, no script, nothing from a network, the same bytes for the same content."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path


def sheet(title: str, head: str, sections: Mapping[str, str], footer: str) -> str:
    """`head` and the sections, by their headings, are HTML; empty ones are left out. `title` and `footer` are text."""
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    body = "".join(f"<section><h2>{escape(name)}</h2>{text}</section>" for name, text in sections.items() if text)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n<body><main>"
        f"{head}{body}<footer>{escape(footer)}</footer></main></body></html>\n"
    )
