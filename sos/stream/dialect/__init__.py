"""Dialects: templates of words, compiled to the program that writer and reader follow; ambiguous ones are refused."""
