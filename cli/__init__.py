"""Answer a person at the command line: typed parameters in, text or JSON out; a command is a file in commands/."""
