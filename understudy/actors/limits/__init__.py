"""Token buckets: how much one caller may ask for."""
