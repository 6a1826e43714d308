"""Decide when a pipeline runs and what follows what, by Prefect, which keeps the record."""
