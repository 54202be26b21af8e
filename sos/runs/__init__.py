"""Run folders: their files and locks, checkpoints, provenance, sweeps, and what finished runs hold."""
