"""Policies small enough to be a table: bandits, finite Markov decision processes, and their algebra."""
