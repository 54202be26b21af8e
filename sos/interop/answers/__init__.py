"""Answers in free text: what a text says, and whether it is right."""
