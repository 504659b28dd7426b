"""A real language model: what was predicted, what was run, and what came of it."""
