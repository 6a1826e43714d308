"""Turn raw rows into prepared rows: infer types, check rules, split, fit, window."""
