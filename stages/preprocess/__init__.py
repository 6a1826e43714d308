"""Preprocess raw rows: infer columns from a sample, prepare shards of row groups, fit the spec, run checks."""
