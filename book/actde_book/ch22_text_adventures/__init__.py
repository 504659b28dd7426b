"""What only the page ``22_text_adventures`` needs."""
