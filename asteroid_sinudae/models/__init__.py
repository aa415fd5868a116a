"""Representations, separators, and the files that they are kept in."""
