"""Every error has one code, and every code one status: the table, and the way from an exception to an answer."""

import structlog
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import WebsocketMismatch

from understudy.actors.errors import Detail, DomainError
from understudy.http.envelope import envelope
from understudy.http.replies import Reply
from understudy.runtime import (
    ActorCrashed,
    AskTimeout,
    FutureSequence,
    MailboxFull,
    NotRunning,
    Quarantined,
    RuntimeFault,
    TooManyChildren,
)

log = structlog.get_logger("understudy.http")

STATUS: dict[str, int] = {
    "VALIDATION": 400,
    "CONTEXT_TOO_LARGE": 400,
    "UNAUTHENTICATED": 401,
    "TOKEN_REPLAY": 401,
    "FORBIDDEN": 403,
    "MODEL_RESTRICTED": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "NOT_ACCEPTABLE": 406,
    "REQUEST_TIMEOUT": 408,
    "CONFLICT": 409,
    "CANCELLED": 409,
    "PRECONDITION_FAILED": 412,
    "PAYLOAD_TOO_LARGE": 413,
    "HEADERS_TOO_LARGE": 431,
    "RATE_LIMIT": 429,
    "QUOTA_EXCEEDED": 429,
    "TOKEN_BUDGET_EXCEEDED": 429,
    "TURN_BUDGET_EXCEEDED": 429,
    "INTERNAL": 500,
    "NOT_IMPLEMENTED": 501,
    "PROVIDER_ERROR": 502,
    "UNAVAILABLE": 503,
    "AGENT_PAUSED": 503,
    "CIRCUIT_OPEN": 503,
    "INTERRUPTED": 503,
    "TIMEOUT": 504,
}
"""Code to status. What is not here is answered 500."""

RETRY_AFTER = {"RATE_LIMIT": 1.0, "UNAVAILABLE": 1.0, "CIRCUIT_OPEN": 5.0, "INTERRUPTED": 1.0}
"""Seconds that a client should wait when the error itself does not know."""


class ApiError(Exception):
    """An error found by the HTTP floor itself, before any actor was asked."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: tuple[Detail, ...] = (),
        headers: tuple[tuple[bytes, bytes], ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.message = message
        self.details = details
        self.headers = headers


def invalid(path: str, issue: str, message: str | None = None, limit: int | None = None) -> ApiError:
    """A request with one thing wrong, at *path*."""
    text = message if message is not None else f"{path}: {issue.replace('_', ' ')}"
    return ApiError("VALIDATION", text, details=(Detail(path, issue, limit),))


def problem(
    code: str,
    message: str,
    request_id: str,
    *,
    details: tuple[Detail, ...] = (),
    retry_after: float | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Reply:
    """The answer for *code*: status by the table, the envelope, and the headers that its status asks for."""
    status = STATUS.get(code, 500)
    fields = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), *headers]
    wait = retry_after if retry_after is not None else RETRY_AFTER.get(code)
    if wait is not None:
        # Whole seconds, rounded up: coming back a moment early is refused again.
        fields.append((b"retry-after", b"%d" % max(1, -int(-wait // 1))))
    if status == 401 and not any(name == b"www-authenticate" for name, _ in fields):
        fields.append((b"www-authenticate", b'Bearer error="invalid_token"'))
    return Reply(status, envelope(message, code, request_id, details), tuple(fields), code)


def reply_to(error: Exception, request_id: str) -> Reply:
    """The answer for an exception. Anything unforeseen is logged with its traceback, and told without it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    match error:
        case ApiError():
            return problem(
                error.code,
                error.message,
                request_id,
                details=error.details,
                headers=error.headers,
                retry_after=error.retry_after,
            )
        case DomainError():
            return problem(error.code, error.message, request_id, details=error.details, retry_after=error.retry_after)
        case RuntimeFault():
            return _of_kernel(error, request_id)
        case HTTPException():
            return _of_routing(error, request_id)
        case _:
            pass
    log.error("request failed", request_id=request_id, exc_info=error)
    return problem("INTERNAL", "Something went wrong on our side; the request id leads to it", request_id)


def _of_kernel(error: RuntimeFault, request_id: str) -> Reply:
    match error:
        case MailboxFull() | TooManyChildren():
            message = f"The {_noun(error.address)} is busy; try again"
            return problem("RATE_LIMIT", message, request_id, retry_after=error.retry_after)
        case Quarantined():
            message = f"The {_noun(error.address)} failed too often and is left alone for a moment; try again"
            return problem("UNAVAILABLE", message, request_id, retry_after=error.retry_after)
        case AskTimeout():
            return problem("TIMEOUT", f"The {_noun(error.address)} did not answer in time", request_id)
        case ActorCrashed():
            return problem("UNAVAILABLE", f"The {_noun(error.address)} was restarted; try again", request_id)
        case NotRunning():
            return problem("UNAVAILABLE", f"The {_noun(error.address)} is not running; try again", request_id)
        case FutureSequence():
            detail = Detail("after", "in_the_future", error.last_seq)
            message = f"There is no event {error.after} yet: the newest is {error.last_seq}"
            return problem("VALIDATION", message, request_id, details=(detail,))
        case _:
            pass
    log.error("request failed", request_id=request_id, exc_info=error)
    return problem("INTERNAL", "Something went wrong on our side; the request id leads to it", request_id)


def _of_routing(error: HTTPException, request_id: str) -> Reply:
    match error:
        case MethodNotAllowed():
            allow = ", ".join(sorted(error.valid_methods or ())).encode()
            return problem(
                "METHOD_NOT_ALLOWED", "The method is not allowed here", request_id, headers=((b"allow", allow),)
            )
        case NotFound():
            return problem("NOT_FOUND", "There is nothing at this address", request_id)
        case WebsocketMismatch():
            return problem("VALIDATION", "A WebSocket is not what this address takes", request_id)
        case _:
            pass
    status = error.code or 500
    code = next(
        (code for code, known in STATUS.items() if known == status), "VALIDATION" if status < 500 else "INTERNAL"
    )
    reply = problem(code, error.name, request_id)
    return Reply(status, reply.body, reply.headers, code)


def _noun(address: str) -> str:
    """How people call what lives at *address*: ``session/ses_…`` is the session."""
    kind, _, rest = address.partition("/")
    known = {"session": "session", "inference": "provider", "identity": "identity service", "limits": "rate limiter"}
    if kind in known:
        return known[kind]
    return f"{kind} {rest}" if rest else kind
