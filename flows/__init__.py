"""When: Prefect decides when a pipeline runs, what follows what, and keeps the record. Nothing below imports it."""
