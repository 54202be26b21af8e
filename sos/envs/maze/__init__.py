"""Mazes: a grid with walls, and the question for a shortest way through it."""
