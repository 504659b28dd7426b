"""What only the page ``04_more_than_one_state`` needs."""
