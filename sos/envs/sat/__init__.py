"""3-SAT, searched by DPLL."""
