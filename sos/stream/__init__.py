"""From traces to token streams and back: views, dialects, the codec and exact verification."""
