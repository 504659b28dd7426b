"""What only the page ``20_frontier_unlisted`` needs."""
