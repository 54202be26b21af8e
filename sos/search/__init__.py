"""Search strategies: `SEARCHES` maps a config's `search.name` to its NamedTuple."""

from sos.search.depth_first import DepthFirst

SEARCHES = {"dfs": DepthFirst}
