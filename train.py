"""Search, serialize, pretrain, evaluate: `python train.py [key=value]`, `-m` for a sweep, `-m +sweep=NAME` for one of
conf/sweep."""

import sys

from sos.commands.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
