"""Policies that read a sequence of tokens and say what comes next."""
