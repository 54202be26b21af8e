"""Sudoku: a grid of digits, each once in every row, column and box."""
