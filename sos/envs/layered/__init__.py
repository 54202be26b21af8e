"""Layered graphs: nodes in layers, edges with costs from each layer to the next, and the question for a cheapest path."""
