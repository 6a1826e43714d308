"""Train a network: the one loop, its configuration, state, checkpoints and processes."""
