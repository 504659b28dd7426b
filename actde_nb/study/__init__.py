"""What was measured, kept and drawn."""
