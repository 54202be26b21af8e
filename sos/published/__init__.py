"""What belongs to the published Stream of Search alone: its records, strategies, metric and alignment."""
