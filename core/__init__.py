"""Hold what every room stands on: errors, configuration, files and locks, processes, progress."""
