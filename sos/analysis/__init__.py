"""Analysis of finished runs: intervals, comparisons of arms and figures."""
