"""Translation only: a request becomes a message, what is answered becomes a response."""
