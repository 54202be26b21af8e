"""Path-star: arms of nodes that meet in one, and the question which arm ends in the target."""
