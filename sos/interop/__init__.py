"""To other tools: models for transformers, rows for datasets."""
