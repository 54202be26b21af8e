"""The package as a library: data sets for torch, searches, verdicts, and trained models; see docs/library.md."""
