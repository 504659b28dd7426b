"""The grammar drawn, and what leads out of its language."""
