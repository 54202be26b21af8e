"""Search strategies: `SEARCHES` maps a config's `search.name` to its NamedTuple."""

from sos.search.beam import Beam
from sos.search.best_first import BestFirst
from sos.search.depth_first import DepthFirst

SEARCHES = {"dfs": DepthFirst, "beam": Beam, "best_first": BestFirst}
