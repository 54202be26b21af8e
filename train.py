"""Search, serialize, pretrain, evaluate: `python train.py [key=value]`, `-m` for a sweep, `-m +sweep=NAME` for a file of conf/sweep."""

import sys

from sos.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
