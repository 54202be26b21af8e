"""Statistics of finished runs: comparisons of arms, paired tests, figures, scaling laws, and what makes a table
unsound."""
