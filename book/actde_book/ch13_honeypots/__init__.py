"""What only the page ``13_honeypots`` needs."""
