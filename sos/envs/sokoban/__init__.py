"""Sokoban: a worker pushes boxes onto docks, and cannot pull them back."""
