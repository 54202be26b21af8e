"""Layered graphs: edges with costs from each layer of nodes to the next, and the question for a cheapest path."""
