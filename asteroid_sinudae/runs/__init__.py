"""Runs: one training each, with its folder."""
