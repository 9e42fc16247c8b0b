"""Small actors and messages that the kernel's tests share."""

from __future__ import annotations

import attrs
import pytest
import trio

from understudy.runtime import (
    Actor,
    ActorCrashed,
    ActorSystem,
    Ask,
    Backoff,
    ChildSpec,
    Exit,
    Refusal,
    Strategy,
    SupervisorSpec,
    receive,
)

NO_WAIT = Backoff(base=0.0)


@attrs.frozen
class Add(Ask[int]):
    n: int = 1


@attrs.frozen
class Get(Ask[int]):
    pass


@attrs.frozen
class Note:
    n: int = 0


@attrs.frozen
class Crash(Ask[None]):
    why: str = "boom"


@attrs.frozen
class Refuse(Ask[None]):
    why: str = "no"


@attrs.frozen
class Doze(Ask[str]):
    seconds: float = 1.0


@attrs.frozen
class Quit(Ask[None]):
    pass


class No(Refusal):
    """A refusal of the tests' own."""


class Counter(Actor):
    """Counts; crashes, refuses, dozes and quits when asked; writes its comings and goings into *diary*."""

    def __init__(self, diary: list[str] | None = None, start: float = 0.0, goodbye: float = 0.0) -> None:
        self.diary = diary if diary is not None else []
        self.start = start
        self.goodbye = goodbye
        self.total = 0
        self.notes: list[int] = []

    async def started(self) -> None:
        if self.start:
            await trio.sleep(self.start)
        self.diary.append(f"+{self.address}")

    async def stopping(self, reason: Exit) -> None:
        self.diary.append(f"~{self.address}")
        if self.goodbye:
            await trio.sleep(self.goodbye)
        self.diary.append(f"-{self.address}")

    def snapshot(self) -> dict[str, object]:
        return {"total": self.total}

    @receive
    def add(self, message: Add) -> int:
        self.total += message.n
        return self.total

    @receive
    async def get(self, message: Get) -> int:
        return self.total

    @receive
    def note(self, message: Note) -> None:
        self.notes.append(message.n)
        self.total += 1

    @receive
    def crash(self, message: Crash) -> None:
        raise ValueError(message.why)

    @receive
    def refuse(self, message: Refuse) -> None:
        raise No(message.why)

    @receive
    async def doze(self, message: Doze) -> str:
        await trio.sleep(message.seconds)
        return "rested"

    @receive
    def quit(self, message: Quit) -> None:
        self.stop()


def counter(id: str, diary: list[str] | None = None, **options: object) -> ChildSpec:
    """A spec for a `Counter`."""
    return ChildSpec(id, Counter, args=(diary,), **options)  # type: ignore[arg-type]


def trio_of(strategy: Strategy, diary: list[str], **options: object) -> SupervisorSpec:
    children = [counter(name, diary, poison_after=1000) for name in "abc"]
    return SupervisorSpec("s", strategy=strategy, children=children, backoff=NO_WAIT, **options)  # type: ignore[arg-type]


async def crash(system: ActorSystem, address: str) -> None:
    with pytest.raises(ActorCrashed):
        await system.ask(address, Crash())


async def settle(system: ActorSystem, *addresses: str) -> None:
    for address in addresses:
        await system.ask(address, Get())
