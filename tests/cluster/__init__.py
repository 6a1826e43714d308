"""Tests across machines: `make cluster-test`, as root."""
