"""The floor on top: what the settings mean, and all the parts put together.

This is the only place that knows of HTTP, actors and storage at once.
"""

from understudy.app.composition import run as run
