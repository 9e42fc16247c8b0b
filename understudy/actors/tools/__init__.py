"""Tools: what a model may call; run in the caller's task, described to the model, their failures are results."""
