"""Turn raw rows into Arrow tables and NumPy tensors, described by one spec (`evergreen.data.spec`)."""
