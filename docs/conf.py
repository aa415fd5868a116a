"""Configuration of Sphinx: `make docs`."""

import warnings

# Torch's and Asteroid's dependencies warn when they are imported, which says nothing of the docs.
warnings.filterwarnings("ignore", category=DeprecationWarning)
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")

from asteroid_sinudae import __version__  # noqa: E402

project = "asteroid_sinudae"
author = "asteroid_sinudae authors"
copyright = f"2026, {author}"
release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"asteroid_sinudae {release}"
html_show_sourcelink = False

# Markdown: headings of three levels can be linked to, a link to none is a warning.
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

# A page that names something of the API by its whole name has to be right. Docstrings also name,
# by short names, what is not documented here.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!asteroid_sinudae\.).*")]

# The tutorial is executed at every build, and a cell that fails ends it.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120  # seconds a cell
nb_merge_streams = True

# Names are documented where users find them, not where they are defined.
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
