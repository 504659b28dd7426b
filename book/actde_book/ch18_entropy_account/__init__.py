"""What only the page ``18_entropy_account`` needs."""
