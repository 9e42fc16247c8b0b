"""Money: what a model's tokens cost, and what was spent."""
