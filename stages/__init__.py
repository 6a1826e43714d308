"""Do each stage of a model's life: one package per stage; the only room that sees both data and models."""
