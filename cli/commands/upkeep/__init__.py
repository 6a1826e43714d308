"""Hold the commands that keep a project running for years."""
