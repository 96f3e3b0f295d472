"""Shared code of the process-level tests: an nginx for each test, replicas, and a client fast enough to load them."""
