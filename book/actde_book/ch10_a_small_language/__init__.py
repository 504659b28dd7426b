"""What only the page ``10_a_small_language`` needs."""
