"""What only the page ``intro`` needs."""
