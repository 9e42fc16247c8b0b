"""Requests that leave the node: a slim HTTP/1.1 client for providers and a guarded one for everybody else's URLs."""
