"""Filterbanks, and the encoder and decoder around a pair of them."""
