"""Inference: one actor per provider admits calls; the calls themselves run in the caller's task."""
