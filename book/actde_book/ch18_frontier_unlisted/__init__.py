"""What only the page ``18_frontier_unlisted`` needs."""
