"""Countdown: reach a target from numbers with + - * /."""
