"""What only the page ``09_weighted_regression`` needs."""
