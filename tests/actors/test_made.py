"""Ids that a request draws the same each time it is sent."""

import attrs

from understudy.actors.made import made_id
from understudy.actors.serving import Server
from understudy.runtime import ActorSystem, Ask, ChildSpec, Deferred, receive


@attrs.frozen
class Make(Ask[tuple[str, ...]]):
    """Draw three ids, two of them alike."""


@attrs.frozen
class Pass(Ask[tuple[str, ...]]):
    """Have somebody else make."""


class Maker(Server):
    @receive
    def make(self, message: Make) -> Deferred[tuple[str, ...]]:
        return self.answer(message, self._make)

    @receive
    def hand_on(self, message: Pass) -> Deferred[tuple[str, ...]]:
        return self.answer(message, self.system.ask, "other", Make())

    async def _make(self) -> tuple[str, ...]:
        return made_id("thg"), made_id("thg"), made_id("thg", "labelled")


async def drawn(system: ActorSystem, seed: str | None, message: Ask[tuple[str, ...]]) -> tuple[str, ...]:
    with system.context(seed=seed):
        return await system.ask("maker", message)


async def test_the_same_seed_draws_the_same_ids_and_another_or_none_draws_others() -> None:
    async with ActorSystem("test") as system:
        await system.spawn(ChildSpec("maker", Maker))
        one = await drawn(system, "one", Make())
        assert len(set(one)) == 3
        assert all(id_.startswith("thg_") and len(id_) == len("thg_") + 22 for id_ in one)
        assert await drawn(system, "one", Make()) == one
        others = (
            await drawn(system, "two", Make()),
            await drawn(system, None, Make()),
            await drawn(system, None, Make()),
        )
        assert len({*one, *others[0], *others[1], *others[2]}) == 12


async def test_what_an_actor_asks_of_another_draws_from_no_seed() -> None:
    async with ActorSystem("test") as system:
        for name in ("maker", "other"):
            await system.spawn(ChildSpec(name, Maker))
        assert not {*await drawn(system, "one", Pass())} & {*await drawn(system, "one", Pass())}
