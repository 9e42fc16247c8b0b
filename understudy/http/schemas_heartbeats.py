"""The JSON of `/heartbeat`."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from understudy.actors.heartbeats.messages import Kind, Method, RunStatus, Trigger
from understudy.http.schemas import Offset, Title, Wire

Url = Annotated[str, Meta(min_length=1, max_length=2048, examples=["https://news.example.org/feed.xml"])]
Feeds = Annotated[list[Url], Meta(min_length=1, max_length=10)]
Minutes = Annotated[int, Meta(ge=5, le=10_080, examples=[15])]
Seconds = Annotated[int, Meta(ge=300, le=604_800)]
AgentName = Annotated[str, Meta(min_length=1, max_length=64)]
Prompt = Annotated[str, Meta(min_length=1, max_length=4000)]
Keywords = Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(max_length=50)]
MaxItems = Annotated[int, Meta(ge=1, le=50)]
Headers = Annotated[
    dict[Annotated[str, Meta(max_length=100)], Annotated[str, Meta(max_length=4096)]], Meta(max_length=20)
]
Status = Annotated[int, Meta(ge=100, le=599)]
Contains = Annotated[str, Meta(min_length=1, max_length=1000)]
Pointer = Annotated[str, Meta(max_length=500, examples=["/items/0/price"])]
Timeout = Annotated[int, Meta(ge=100, le=10_000)]


class NewHeartbeat(Wire, frozen=True):
    """A new heartbeat. ``source`` is another name of ``type``; ``feeds`` are for several feeds, in place of ``url``.

    The interval is in minutes or in seconds, not both.
    """

    name: Title
    type: Kind | None = None
    source: Kind | None = None
    url: Url | None = None
    feeds: Feeds | None = None
    interval_minutes: Minutes | None = None
    interval_seconds: Seconds | None = None
    agent_id: AgentName = "chad"
    prompt: Prompt | None = None
    keywords: Keywords = field(default_factory=list)
    max_items: MaxItems = 10
    fire_on_first_run: bool = False
    method: Method = Method.GET
    headers: Headers = field(default_factory=dict)
    expected_status: Status | None = None
    contains: Contains | None = None
    select: Pointer | None = None
    timeout_ms: Timeout = 10_000
    trigger: Trigger = Trigger.ON_CHANGE
    enabled: bool = True


class HeartbeatChange(Wire, frozen=True):
    """What is to change; what is left out stays. What kind it is cannot be changed."""

    name: Title | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    feeds: Feeds | UnsetType = UNSET
    interval_minutes: Minutes | UnsetType = UNSET
    interval_seconds: Seconds | UnsetType = UNSET
    agent_id: AgentName | UnsetType = UNSET
    prompt: Prompt | UnsetType | None = UNSET
    keywords: Keywords | UnsetType = UNSET
    max_items: MaxItems | UnsetType = UNSET
    fire_on_first_run: bool | UnsetType = UNSET
    method: Method | UnsetType = UNSET
    headers: Headers | UnsetType = UNSET
    expected_status: Status | UnsetType | None = UNSET
    contains: Contains | UnsetType | None = UNSET
    select: Pointer | UnsetType | None = UNSET
    timeout_ms: Timeout | UnsetType = UNSET
    trigger: Trigger | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class RunsQuery(Wire, frozen=True):
    """Which runs, newest due time first."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    offset: Offset = 0


class LastRun(Wire, frozen=True):
    """How the newest run that has ended went."""

    id: str
    status: RunStatus
    at: datetime
    item_count: int
    error: str | None
    session_id: str | None


class Heartbeat(Wire, frozen=True):
    """A heartbeat. ``createdBy`` is whom it acts for; ``errors`` are those in a row.

    Headers that are named like a secret show none. ``nextRunAt`` is null while it is switched off, ``disabledReason``
    says why the server did that.
    """

    id: str
    workspace_id: str
    created_by: str
    name: str
    type: Kind
    url: str
    feeds: list[str]
    interval_minutes: int | float
    interval_seconds: int
    agent_id: str
    prompt: str | None
    keywords: list[str]
    max_items: int
    fire_on_first_run: bool
    method: Method
    headers: dict[str, str]
    expected_status: int | None
    contains: str | None
    select: str | None
    timeout_ms: int
    trigger: Trigger
    enabled: bool
    disabled_reason: str | None
    errors: int
    last_run: LastRun | None
    next_run_at: datetime | None
    created_at: datetime
    updated_at: datetime


class HeartbeatList(Wire, frozen=True):
    """All heartbeats of the workspace, oldest first."""

    heartbeats: list[Heartbeat]
    total: int


class HeartbeatRun(Wire, frozen=True):
    """A due time and what became of it; ``attempts`` are more than one when somebody died over it."""

    id: str
    status: RunStatus
    due_at: datetime
    started_at: datetime
    duration_ms: int | None
    http_status: int | None
    item_count: int
    error: str | None
    session_id: str | None
    attempts: int


class RunList(Wire, frozen=True):
    """Some runs, newest due time first."""

    runs: list[HeartbeatRun]
    total: int
    limit: int
    offset: int
