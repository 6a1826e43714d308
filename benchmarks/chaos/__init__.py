"""Kill what runs at each stage, and look at what the next run makes of it: `python -m benchmarks.chaos`."""
