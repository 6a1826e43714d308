"""Check that a part keeps its contract: the sweep of the tests, and what `evergreen check-part` runs."""
