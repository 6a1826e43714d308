"""Hold the commands that run a pipeline as if it had run then."""
