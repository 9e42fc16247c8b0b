"""Is the node well, and if not, what is wrong?"""
