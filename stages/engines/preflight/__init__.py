"""Try, before anything costs, what would stop a run: on each machine, between them, and for this pipeline."""
