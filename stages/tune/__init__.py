"""Search the chosen architecture's hyperparameters."""
