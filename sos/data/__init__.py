"""Training data as a pure function of (seed, stream, index): splits, streams, packed rows and the Lightning module."""
