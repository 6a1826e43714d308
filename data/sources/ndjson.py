"""JSON lines under their other name."""

from data.sources.jsonl import Source as Source
