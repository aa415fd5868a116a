"""Training of representations and separators."""
