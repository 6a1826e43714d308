"""The endpoint: what a replica does with a request, and the proxy in front. `stages/deploy/stage.py` puts it up."""
