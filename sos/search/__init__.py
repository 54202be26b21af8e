"""Search strategies: `SEARCHES` maps a config's `search.name` to its NamedTuple; `Mixture` draws from several."""

from sos.search.beam import Beam
from sos.search.best_first import BestFirst
from sos.search.depth_first import DepthFirst
from sos.search.mixture import Mixture, mix
from sos.search.widening import Widening

SEARCHES = {"dfs": DepthFirst, "beam": Beam, "best_first": BestFirst, "widening": Widening}

__all__ = ["SEARCHES", "Beam", "BestFirst", "DepthFirst", "Mixture", "Widening", "mix"]
