"""Evaluation under masks that know the sources, and of separators that do not."""
