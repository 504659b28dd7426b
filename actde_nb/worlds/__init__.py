"""Worlds: where tokens come from and what they earn."""
