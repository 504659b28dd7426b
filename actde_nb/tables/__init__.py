"""Policies as tables: bandits, decision processes, and what their updates do, exactly."""
