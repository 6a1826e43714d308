"""How validate judges: scores with intervals, paired tests, simple opponents, the verdict."""
