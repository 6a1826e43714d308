"""Live a year of one pipeline in minutes, with real engines, and look at what years would break."""
