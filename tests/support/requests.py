"""Requests as they are written to a socket."""

from tests.support.neighbours import AUTH


def post(path: str, body: str, extra: str = "") -> str:
    return (
        f"POST {path} HTTP/1.1\nHost: t\nAuthorization: {AUTH['Authorization']}\n{extra}"
        f"Content-Length: {len(body.encode())}\n\n{body}"
    )


def stream(message: str, last_event_id: str | None = None) -> str:
    extra = f"Last-Event-ID: {last_event_id}\n" if last_event_id else ""
    return post("/agent/chat/stream", f'{{"message":"{message}"}}', extra)
