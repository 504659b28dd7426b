"""What only the page ``14_sharpness`` needs."""
