"""Whatever is done to an agent, its history loses nothing and its present is the last thing done."""

from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.actors.agents.stage import document, running
from understudy.actors.agents.messages import (
    CreateAgent,
    GetAgent,
    GetVersion,
    LabelVersion,
    ListVersions,
    ReplaceAgent,
    ResolveAgent,
    RollBack,
)
from understudy.actors.errors import NotFound, PreconditionFailed

WORDS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.tuples(st.just("replace"), WORDS)
    | st.tuples(st.just("stale"), WORDS)
    | st.tuples(st.just("roll back"), st.integers(0, 6))
    | st.tuples(st.just("label"), st.integers(0, 6)),
    max_size=12,
)


@settings(max_examples=40)
@given(STEPS)
def test_no_step_is_ever_lost(steps: list[tuple[str, Any]]) -> None:
    trio.run(follow, steps)


async def follow(steps: list[tuple[str, Any]]) -> None:
    """Do the steps beside a list of what each version said, and compare after each."""
    async with running() as node:
        first = await node.ask(CreateAgent(node.mira, "helper", document(description="a")))
        said, revisions = ["a"], [first.revision]
        labels: list[str | None] = [None]
        for kind, what in steps:
            expected, label = said[-1], None
            try:
                if kind == "replace":
                    expected = what
                    await node.ask(ReplaceAgent(node.mira, "helper", document(description=what), revisions[-1]))
                elif kind == "stale":
                    await node.ask(ReplaceAgent(node.mira, "helper", document(description=what), "agv_stale"))
                    raise AssertionError("a stale change was made")
                elif kind == "roll back":
                    await node.ask(RollBack(node.mira, "helper", what))
                    expected, label = said[what - 1], f"rollback to version {what}"
                else:
                    await node.ask(LabelVersion(node.mira, "helper", what, f"label {what}"))
                    labels[what - 1] = f"label {what}"
            except PreconditionFailed:
                assert kind == "stale"
            except NotFound:
                assert not 1 <= what <= len(said)
            now = await node.ask(GetAgent("ws_mira", "helper"))
            if expected != said[-1]:
                said.append(expected)
                labels.append(label)
                revisions.append(now.revision)
            assert (now.version, now.document.description, now.revision) == (len(said), said[-1], revisions[-1])
            assert (await node.ask(ResolveAgent("ws_mira", "helper"))).description == said[-1]
            page = await node.ask(ListVersions("ws_mira", "helper"))
            assert [(v.version, v.document.description, v.label) for v in reversed(page.versions)] == [
                (number, words, labels[number - 1]) for number, words in enumerate(said, start=1)
            ]
            assert [v.version for v in page.versions if v.current] == [len(said)]
        assert (await node.ask(GetVersion("ws_mira", "helper", 1))).document.description == "a"
        assert len(set(revisions)) == len(revisions)
