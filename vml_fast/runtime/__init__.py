"""Runners of the inner loop: the network, the bracket and the update."""
