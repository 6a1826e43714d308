"""Tell one turn of the loop, from a world that moves to a version that was approved: `python -m benchmarks.loop`."""
