"""Runs beside each other: intervals over trials, curves, frontiers, methods at equal divergence."""
