"""Judging a model: problems of the splits, verdicts on rollouts, metrics with intervals, losses by place."""
