"""The domain: what lives in the supervision tree."""
