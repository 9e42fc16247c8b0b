"""Feeds to look at."""


def rss(*names: str) -> bytes:
    """A feed with an item of each name."""
    items = "".join(f'<item><title>{name}</title><guid isPermaLink="false">{name}</guid></item>' for name in names)
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>t</title>{items}</channel></rss>'.encode()
