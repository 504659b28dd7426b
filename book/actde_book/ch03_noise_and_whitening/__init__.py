"""What only the page ``03_noise_and_whitening`` needs."""
