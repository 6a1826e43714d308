"""Measure Evergreen against what people would use otherwise: `python -m benchmarks.NAME`."""
