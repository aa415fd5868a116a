"""What `pip install 'asteroid_sinudae[…]'` adds, named in one line where it is missing."""

from importlib.util import find_spec

EXTRAS = {  # modules, by the name of the extra that brings them
    "recipe": ("musdb", "museval", "ot", "pandas", "stempeg", "tabulate", "tensorboard"),
    "report": ("jinja2", "matplotlib", "pandas", "PIL"),
}


def require(extra: str) -> None:
    """Raise an ImportError that says what to install, if a module of an extra is missing.

    Args:
        extra (str): Among :data:`EXTRAS`.
    """
    missing = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if missing:
        raise ImportError(
            f"{', '.join(missing)} not installed: pip install 'asteroid_sinudae[{extra}]'",
            name=missing[0],
        )
