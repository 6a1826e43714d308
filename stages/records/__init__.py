"""What is recorded and where: DVC's graph and bytes, git's tags. `stages/versions.py` is the door to all of it."""
