"""What only the page ``02_finite_reinforcement`` needs."""
