"""Keep deep-learning models alive: collect, tune, train, validate, release, serve, and start again."""
