"""Temperatures of players in the prisoner's dilemma."""
