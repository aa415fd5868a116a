"""Evaluation under masks that know the sources, and of separators that do not."""

from ..utils.extras import require

require("recipe")
