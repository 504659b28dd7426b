"""Runs: a configuration, a world and a network; what is stored of them."""
