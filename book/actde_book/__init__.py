"""What single chapters of the book need: a drawer for each."""
