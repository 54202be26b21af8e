"""`python -m sos VERB ...`: the command line without an installation."""

import sys

from sos.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
