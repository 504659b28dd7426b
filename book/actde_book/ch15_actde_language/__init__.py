"""Two critics watched as they learn."""
