"""Curvature of a network's loss, and rewards of equal reach to compare."""
