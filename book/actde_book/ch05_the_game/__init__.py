"""What only the page ``05_the_game`` needs."""
