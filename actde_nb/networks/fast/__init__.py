"""The compiled twin of the network."""
