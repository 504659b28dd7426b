"""What only the page ``08_what_moves_it`` needs."""
