"""What the process-level tests stand on: an nginx of our own, replicas, and a client fast enough to load them."""
