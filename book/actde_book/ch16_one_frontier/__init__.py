"""What only the page ``16_one_frontier`` needs."""
