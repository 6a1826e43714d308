"""Answer a person at the command line: one file a command, typed parameters in, text or JSON out."""
