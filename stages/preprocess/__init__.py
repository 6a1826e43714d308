"""How raw rows become ready ones: a look, one pass over shards of row groups, and what all shards together decide."""
