"""Reading tokens as a trace; total: any array gives a trace so far, an error code and a position."""
