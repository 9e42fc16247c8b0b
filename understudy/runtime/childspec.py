"""What to run and what to do when it ends. Plain data, checked as a whole before anything starts."""

from __future__ import annotations

import enum
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from understudy.backoff import Backoff
from understudy.runtime.errors import BadSpec

if TYPE_CHECKING:
    from understudy.runtime.actor import Actor

KILL: Final = 0.0
"""As ``shutdown``: cancel at once, without asking."""

INFINITY: Final = math.inf
"""As ``shutdown``: wait as long as it takes. The default for supervisors, whose children have limits of their own."""


class Restart(enum.Enum):
    """Which exits start the child again."""

    PERMANENT = "permanent"
    """Every exit."""
    TRANSIENT = "transient"
    """Abnormal exits only: a crash or a kill."""
    TEMPORARY = "temporary"
    """None."""


class Strategy(enum.Enum):
    """Which children a restart takes along."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


@attrs.frozen
class ChildSpec:
    """One actor.

    Attributes:
        id: Its name among its siblings; the last part of its address.
        actor: The class; called with ``args`` and ``kwargs`` for every incarnation.
        restart: Which exits start it again.
        shutdown: Seconds it has to stop when asked, before it is cancelled; or `KILL`, or `INFINITY`.
        significant: Its end for good ends its supervisor too, in good order.
        start_timeout: Seconds that ``started()`` may take.
        poison_after: After this many crashes on equal messages, such mail goes to the dead letters.
        mailbox_limit, overflow, idle_after, progress_timeout: Override the class's own; None keeps them.
    """

    id: str
    actor: Callable[..., Actor]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    restart: Restart = Restart.PERMANENT
    shutdown: float = 5.0
    significant: bool = False
    start_timeout: float = 30.0
    poison_after: int = 3
    mailbox_limit: int | None = None
    idle_after: float | None = None
    progress_timeout: float | None = None


@attrs.frozen
class SupervisorSpec:
    """A supervisor of named children, started in order and stopped in reverse.

    More than ``max_restarts`` crashes within ``window`` seconds end it, children first, and count as one crash of its
    own to the supervisor above.
    """

    id: str
    strategy: Strategy = Strategy.ONE_FOR_ONE
    children: Sequence[Spec] = ()
    max_restarts: int = 3
    window: float = 5.0
    backoff: Backoff = attrs.field(factory=Backoff)
    restart: Restart = Restart.PERMANENT
    shutdown: float = INFINITY
    significant: bool = False


@attrs.frozen
class DynamicSpec:
    """A supervisor of many alike children, made on demand; each has the address ``<kind>/<key>``.

    Attributes:
        id: Its own name among its siblings.
        kind: First part of its children's addresses; one supervisor per kind in a system.
        child: Makes the spec of the child with this key. A `Refusal` raised here or in ``started()`` reaches whoever
            asked for the child; it is an answer, not a crash.
        max_children: Most children at a time (spread evenly when there are partitions); None is no limit.
        partitions: How many supervisors share the children, by a stable hash of the key.
        quarantine: When given, the restart budget is each child's own: one that exceeds it is parked for this many
            seconds, and nothing else notices. When None the budget is the supervisor's, which then escalates.
    """

    id: str
    kind: str
    child: Callable[[str], ChildSpec]
    max_children: int | None = None
    partitions: int = 1
    quarantine: float | None = None
    max_restarts: int = 3
    window: float = 5.0
    backoff: Backoff = attrs.field(factory=Backoff)
    restart: Restart = Restart.PERMANENT
    shutdown: float = INFINITY
    significant: bool = False


Spec: TypeAlias = ChildSpec | SupervisorSpec | DynamicSpec


def check(spec: Spec, kinds: frozenset[str] | set[str] = frozenset()) -> None:
    """Raise `BadSpec`, naming the path, if *spec* or anything under it contradicts itself or claims a taken kind."""
    _check(spec, "", set(kinds))


def _check(spec: Spec, above: str, kinds: set[str]) -> None:
    path = f"{above}{spec.id}"
    if not spec.id or spec.id.strip() != spec.id or "/" in spec.id:
        raise BadSpec(f"{path!r}: an id is a non-empty word without '/'")
    if spec.significant and spec.restart is Restart.PERMANENT:
        raise BadSpec(f"{path}: a child that is always restarted cannot be significant")
    if not spec.shutdown >= 0:
        raise BadSpec(f"{path}: shutdown is {spec.shutdown}, which is no number of seconds")
    match spec:
        case ChildSpec():
            _check_child(spec, path)
        case SupervisorSpec():
            _check_budget(spec, path)
            seen: set[str] = set()
            for child in spec.children:
                if child.id in seen:
                    raise BadSpec(f"{path}/{child.id}: two children with this id")
                seen.add(child.id)
                _check(child, f"{path}/", kinds)
        case DynamicSpec():
            _check_budget(spec, path)
            if not spec.kind or "/" in spec.kind:
                raise BadSpec(f"{path}: kind {spec.kind!r} must be a non-empty word without '/'")
            if spec.kind in kinds:
                raise BadSpec(f"{path}: kind {spec.kind!r} has a supervisor already")
            kinds.add(spec.kind)
            if spec.partitions < 1 or (spec.max_children is not None and spec.max_children < 1):
                raise BadSpec(f"{path}: partitions and max_children start at 1")
            if spec.quarantine is not None and not spec.quarantine > 0:
                raise BadSpec(f"{path}: quarantine is {spec.quarantine}, which is no number of seconds")


def _check_budget(spec: SupervisorSpec | DynamicSpec, path: str) -> None:
    if spec.max_restarts < 0 or not spec.window > 0:
        raise BadSpec(f"{path}: max_restarts must not be negative, and window must be positive")


def _check_child(spec: ChildSpec, path: str) -> None:
    from understudy.runtime.actor import Actor

    if isinstance(spec.actor, type) and not issubclass(spec.actor, Actor):
        raise BadSpec(f"{path}: {spec.actor.__name__} is no Actor")
    if not callable(spec.actor):
        raise BadSpec(f"{path}: {spec.actor!r} cannot be called to make an actor")
    if (
        not spec.start_timeout > 0
        or spec.poison_after < 1
        or (spec.mailbox_limit is not None and spec.mailbox_limit < 1)
    ):
        raise BadSpec(f"{path}: start_timeout, poison_after and mailbox_limit must be positive")
    for name, seconds in (("idle_after", spec.idle_after), ("progress_timeout", spec.progress_timeout)):
        if seconds is not None and not seconds > 0:
            raise BadSpec(f"{path}: {name} is {seconds}, which is no number of seconds")
    try:
        inspect.signature(spec.actor).bind(*spec.args, **spec.kwargs)
    except TypeError as error:
        raise BadSpec(f"{path}: {spec.actor!r} cannot be called with these arguments: {error}") from None
