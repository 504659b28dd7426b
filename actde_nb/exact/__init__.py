"""Exact numbers of a policy over all sentences of a language."""
