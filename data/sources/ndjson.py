"""JSON lines under their other name."""

from evergreen.data.sources.jsonl import Source as Source
