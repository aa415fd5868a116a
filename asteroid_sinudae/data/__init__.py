"""Prepared tracks of MUSDB18, their segments, and the order in which training sees them."""

from ..utils.extras import require

require("recipe")
