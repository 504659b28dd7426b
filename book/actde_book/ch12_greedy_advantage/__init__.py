"""What only the page ``12_greedy_advantage`` needs."""
