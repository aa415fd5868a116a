"""Songs of any length through a model, piece by piece."""
