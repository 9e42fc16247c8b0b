"""How agents remember: which tiers they are told of, how much, for how long."""
