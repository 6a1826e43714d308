"""Parse and check what must hold of rows: ranges, allowed values, patterns, expressions across columns."""
