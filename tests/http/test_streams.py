"""Event streams as a client sees them: ids, resuming, pings, ends, and how few writes they take."""

import msgspec
import pytest
import trio

from tests.support.neighbours import AUTH, OPERATOR, Api, serving_api
from tests.support.requests import post, stream
from tests.support.server import RawClient
from tests.support.talks import Play

SEVEN = ["session_resolved", "content", "content", "tool_call", "tool_call_complete", "tool_result", "done"]


def parse(text: bytes) -> list[dict[str, str]]:
    """Each event's fields; comments are left out."""
    events = []
    for block in text.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            events.append({k: v.removeprefix(" ") for k, _, v in (line.partition(":") for line in lines)})
    return events


async def events_of(api: Api, request: str) -> list[dict[str, str]]:
    async with await api.running.connect() as client:
        await client.send(request)
        response = await client.response()
        assert response.status == 200, response
        return parse(response.body)


async def test_a_turn_streams_its_events_each_with_an_id_in_order() -> None:
    async with serving_api() as api, await api.running.connect() as client:
        await client.send(stream("tools"))
        head = await client.head()
        assert head.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert head.headers["cache-control"] == "no-cache, no-transform"
        assert head.headers["x-accel-buffering"] == "no"
        body = b"".join([chunk async for chunk in client.chunks()])
        assert b"\r" not in body
        events = parse(body)
        assert [event["event"] for event in events] == SEVEN
        assert [event["id"] for event in events] == [f"ses_mira:{n}" for n in range(1, 8)]
        assert msgspec.json.decode(events[-1]["data"])["content"] == "Good day."
        await client.send(stream("hi"))
        assert (await client.head()).status == 200  # the connection is kept


async def test_no_frame_is_split_over_two_chunks() -> None:
    async with serving_api() as api, await api.running.connect() as client:
        await client.send(stream("chatter"))
        await client.head()
        async for chunk in client.chunks():
            assert chunk.endswith(b"\n\n")


async def test_frames_that_are_ready_together_leave_together() -> None:
    async with serving_api(chatter=500) as api, await api.running.connect() as client:
        await client.send(stream("chatter"))
        await client.head()
        chunks = [chunk async for chunk in client.chunks()]
        assert sum(chunk.count(b"event: ") for chunk in chunks) == 502
        assert len(chunks) < 20


async def test_a_stream_cut_anywhere_goes_on_with_exactly_what_is_missing() -> None:
    async with serving_api() as api:
        whole = await events_of(api, stream("tools"))
        for number in range(1, len(whole) + 1):
            rest = await events_of(api, stream("ignored", f"ses_mira:{number}"))
            assert whole[:number] + rest == whole
        assert len(api.logs["session/ses_mira"]) == len(whole)  # no turn was run for it


async def test_only_the_turn_that_the_event_belongs_to_is_resumed() -> None:
    async with serving_api() as api:
        first = await events_of(api, stream("hi"))
        await events_of(api, stream("tools"))
        rest = await events_of(api, stream("ignored", first[1]["id"]))
        assert first[:2] + rest == first


async def test_the_head_arrives_while_the_agent_is_still_silent_and_pings_follow() -> None:
    async with serving_api(ping_every=0.05) as api, await api.running.connect() as client:
        await client.send(stream("silence"))
        assert (await client.head()).status == 200
        chunks = client.chunks()
        assert (await anext(chunks)).startswith(b"id: ses_mira:1\n")
        assert [await anext(chunks) for _ in range(3)] == [b": ping\n\n"] * 3


async def test_an_error_after_the_first_byte_is_an_event_and_a_proper_end() -> None:
    async with serving_api() as api:
        events = await events_of(api, stream("fail"))
        assert events[-1]["event"] == "error"
        assert msgspec.json.decode(events[-1]["data"]) == {"message": "The provider failed", "code": "PROVIDER_ERROR"}


async def test_a_session_that_crashes_and_comes_back_does_not_break_the_stream() -> None:
    async with serving_api() as api, await api.running.connect() as client:
        await client.send(stream("slowly"))
        await client.head()
        chunks = client.chunks()
        got = await anext(chunks)
        await api.system.kill("session/ses_mira")
        talk = await api.system.ensure("session/ses_mira")
        await talk.ask(Play("trn_1", "hi"))
        got += b"".join([chunk async for chunk in chunks])
        ids = [int(event["id"].rpartition(":")[2]) for event in parse(got)]
        assert ids == list(range(1, ids[-1] + 1))
        assert parse(got)[-1]["event"] == "done"


async def test_a_client_that_leaves_stops_being_a_reader() -> None:
    async with serving_api() as api:
        async with await api.running.connect() as client:
            await client.send(stream("silence"))
            await client.head()
            node = api.system.node("session/ses_mira")
            assert node is not None
            assert node.readers == 1
        while (node := api.system.node("session/ses_mira")) is not None and node.readers:
            await trio.lowlevel.checkpoint()


async def test_a_client_that_leaves_a_plain_chat_stops_being_a_reader() -> None:
    async with serving_api() as api:
        async with await api.running.connect() as client:
            await client.send(post("/agent/chat", '{"message":"silence"}'))
            while (node := api.system.node("session/ses_mira")) is None or not node.readers:
                await trio.lowlevel.checkpoint()
        while (node := api.system.node("session/ses_mira")) is not None and node.readers:
            await trio.lowlevel.checkpoint()


def get(path: str, extra: str = "") -> str:
    return f"GET {path} HTTP/1.1\nHost: t\nAuthorization: {AUTH['Authorization']}\n{extra}\n"


@pytest.mark.parametrize("after", [0, 3, 7])
async def test_the_events_of_a_session_can_be_read_from_any_one_on(after: int) -> None:
    async with serving_api() as api:
        whole = await events_of(api, stream("tools"))
        path = f"/sessions/ses_mira/events?follow=false&after={after}"
        assert await events_of(api, get(path)) == whole[after:]
        by_header = get("/sessions/ses_mira/events?follow=false", f"Last-Event-ID: ses_mira:{after}\n")
        assert await events_of(api, by_header) == whole[after:]


async def test_a_session_without_events_has_an_empty_stream() -> None:
    async with serving_api() as api:
        assert await events_of(api, get("/sessions/ses_mira/events?follow=false")) == []


async def test_a_follower_sees_the_turns_that_come() -> None:
    async with serving_api() as api, await api.running.connect() as client:
        await events_of(api, stream("hi"))
        await client.send(get("/sessions/ses_mira/events?after=3"))
        await client.head()
        chunks = client.chunks()
        assert parse(await anext(chunks))[0]["event"] == "done"
        await events_of(api, stream("tools"))
        assert parse(await anext(chunks))[0]["id"] == "ses_mira:5"


async def test_the_tree_is_streamed_as_a_snapshot_and_then_its_changes() -> None:
    async with serving_api() as api, await api.running.connect() as client:
        await client.send(f"GET /diagnostics/actors?watch=1 HTTP/1.1\nHost: t\nX-Api-Key: {OPERATOR['X-Api-Key']}\n\n")
        await client.head()
        chunks = client.chunks()
        (snapshot,) = parse(await anext(chunks))
        assert (snapshot["event"], snapshot["id"]) == ("snapshot", "1")
        addresses = {child["address"] for child in msgspec.json.decode(snapshot["data"])["children"]}
        assert {"identity", "sessions", "talks"} <= addresses
        await events_of(api, stream("hi"))
        seen: set[str] = set()
        while "session/ses_mira" not in seen:
            for event in parse(await anext(chunks)):
                assert event["event"] == "change"
                change = msgspec.json.decode(event["data"])
                assert all("children" not in node for node in change["changed"])
                seen |= {node["address"] for node in change["changed"]}


async def test_streams_say_goodbye_when_the_server_stops() -> None:
    async with serving_api() as api, await api.running.connect() as turn, await api.running.connect() as follower:
        await turn.send(stream("silence"))
        await turn.head()
        await follower.send(get("/sessions/ses_mira/events"))
        await follower.head()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(api.running.server.drain, 1.0)
            for client in (follower, turn):  # the follower at once, the turn when time is nearly up
                body = b"".join([chunk async for chunk in client.chunks()])
                assert b"come back with Last-Event-ID" in body
                assert await client.closed()


async def test_a_turn_that_ends_in_time_is_streamed_to_its_end_while_the_server_stops() -> None:
    async with serving_api() as api, await api.running.connect() as client:
        await client.send(stream("slowly"))
        await client.head()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(api.running.server.drain, 5.0)
            body = b"".join([chunk async for chunk in client.chunks()])
        assert parse(body)[-1]["event"] == "done"


async def test_a_reader_that_is_slow_gets_everything_and_slows_nobody() -> None:
    async with serving_api(chatter=20_000) as api:
        slow: RawClient = await api.running.connect()
        await slow.send(stream("chatter"))
        await slow.head()
        quick = await events_of(api, get("/sessions/ses_mira/events?follow=false&after=20001"))
        assert len(quick) >= 1
        body = b"".join([chunk async for chunk in slow.chunks()])
        ids = [event["id"] for event in parse(body)]
        assert ids == [f"ses_mira:{n}" for n in range(1, 20_003)]
        await slow.stream.aclose()
