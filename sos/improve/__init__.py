"""What improves a model from its own rollouts: the experience, selections of it, advantages and losses."""
