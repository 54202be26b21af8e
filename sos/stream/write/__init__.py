"""Writing a trace as tokens."""
