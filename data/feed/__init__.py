"""Feed prepared rows to training as batches: in memory or streamed, weighted, or bucketed by length."""
