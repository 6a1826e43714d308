"""Try out architectures and options: trials, the race of select, the search of tune, and their ledger."""
