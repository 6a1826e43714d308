"""Collect rows: read a source into part files, and next time only what is new."""
