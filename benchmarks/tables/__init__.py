"""Public tables, brought as a newcomer brings them, against scikit-learn's defaults: `python -m benchmarks.tables`.

Each row is a table and a split: a quarter of the rows to test, the rest written as a CSV from which `evergreen new`
makes a pipeline; nothing is set by hand. What was measured stays, so a run that was killed goes on; `--again` repeats.
Half of the tables were not looked at until the rules were settled; TABLES.md shows both halves.
"""
