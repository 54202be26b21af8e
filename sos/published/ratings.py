"""The published rating (Gandhi et al. 2024) of how much of the full tree a text explores."""

from __future__ import annotations

# Children of the full tree, without regard to order or exactness: the published normalizer of ratings.
MAX_EXPLORED = {2: 4, 3: 48, 4: 1152, 5: 46080}


def search_rating(text: str, num_numbers: int) -> float:
    """Return the published rating of a generated text: 0 without a goal, else less the more operations it explores."""
    return explored_rating(text, num_numbers) if "Goal Reached" in text and num_numbers in MAX_EXPLORED else 0.0


def explored_rating(text: str, num_numbers: int) -> float:
    """Return 1 less the share of the full tree's operations that a text explores, the root counted as one; 0 at
    least."""
    return max(0.0, 1.0 - (text.count("Exploring Operation") + 1) / MAX_EXPLORED[num_numbers])
