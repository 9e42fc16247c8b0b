"""Translation only: request to message, reply to response. `create_app` makes the application."""

from understudy.http.app import create_app as create_app
