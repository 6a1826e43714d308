"""Measure what is wrong with prepared rows: duplicates across splits, leakage, changes of distribution."""
