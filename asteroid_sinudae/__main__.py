"""`python -m asteroid_sinudae` is the command `sinudae`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
