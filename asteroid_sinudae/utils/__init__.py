"""Helpers that every other part of the package uses and that import none of those parts."""
