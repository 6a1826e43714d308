"""Looking over prepared rows before anything is learned from them: leaks between splits, and drift."""
