"""Compute scores that need more than one line: areas under curves, matched boxes, edit distances."""
