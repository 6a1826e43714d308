"""Hold the commands that decide which version answers."""
