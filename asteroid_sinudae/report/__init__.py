"""The results page, and its plots for notebooks."""

from ..utils.extras import require

require("report")

# ruff: noqa: E402  the line above comes before what it asks for

from .bank import Bank, learned_bank
from .examples import Excerpt, choose_excerpts, make_example, named_excerpt
from .page import Example, Page, Picture, Player, PlayerGroup, Table, build_page, check_output
from .pictures import (
    compared_representations,
    comparison_pictures,
    kernel_pictures,
    loss_pictures,
)
from .plots import (
    plot_bank,
    plot_carriers,
    plot_kernel_overview,
    plot_kernels,
    plot_learning_curves,
    plot_losses,
    plot_representation,
    plot_responses,
    plot_side_by_side,
    plot_tiling,
)
from .run_results import (
    medians_table,
    provenance_facts,
    read_losses,
    read_metrics,
    read_table,
    result_in_words,
    separators_table,
)
from .separation import plot_separation

__all__ = [
    "Bank",
    "Example",
    "Excerpt",
    "Page",
    "Picture",
    "Player",
    "PlayerGroup",
    "Table",
    "build_page",
    "check_output",
    "compared_representations",
    "comparison_pictures",
    "choose_excerpts",
    "kernel_pictures",
    "learned_bank",
    "loss_pictures",
    "make_example",
    "medians_table",
    "named_excerpt",
    "plot_bank",
    "plot_carriers",
    "plot_kernel_overview",
    "plot_kernels",
    "plot_learning_curves",
    "plot_losses",
    "plot_representation",
    "plot_responses",
    "plot_separation",
    "plot_side_by_side",
    "plot_tiling",
    "provenance_facts",
    "read_losses",
    "read_metrics",
    "read_table",
    "result_in_words",
    "separators_table",
]
