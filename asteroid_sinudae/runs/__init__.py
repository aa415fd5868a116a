"""Runs: one training each, with its folder."""

from ..utils.extras import require

require("recipe")
