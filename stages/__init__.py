"""How each stage of a model's life is done: one file per stage; the only room that sees both data and models."""
