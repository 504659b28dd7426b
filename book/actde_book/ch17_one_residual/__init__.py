"""What only the page ``17_one_residual`` needs."""
