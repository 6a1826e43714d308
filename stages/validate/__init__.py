"""Decide whether a candidate may be released: scores, intervals, reference models, a verdict."""
