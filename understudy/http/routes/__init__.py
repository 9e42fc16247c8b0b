"""One file of views per noun. A view parses, asks, and renders; it decides nothing."""
