"""Serve released models over HTTP with Ray Serve."""
