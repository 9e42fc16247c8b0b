"""What identity remembers, and what it must never believe."""

from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.identity.cache import Standings
from understudy.actors.lru import Lru


def test_a_standing_is_believed_for_its_time_and_no_longer() -> None:
    standings = Standings(10, max_age=30.0)
    assert standings.fresh("usr_1", 0.0) is None
    standings.observe("usr_1", 3, enabled=True, now=0.0)
    assert standings.fresh("usr_1", 30.0) is not None
    assert standings.fresh("usr_1", 30.1) is None


def test_a_slow_read_from_before_a_logout_does_not_undo_it() -> None:
    standings = Standings(10, max_age=30.0)
    standings.observe("usr_1", 4, enabled=True, now=1.0)  # the logout
    standings.observe("usr_1", 3, enabled=True, now=1.1)  # a read that began before it and ended after
    seen = standings.fresh("usr_1", 1.2)
    assert seen is not None
    assert seen.version == 4


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=200), st.integers(1, 8))
def test_no_more_is_kept_than_there_is_room_for_and_what_was_used_last_stays(
    steps: list[tuple[int, bool]], size: int
) -> None:
    cache: Lru[int, int] = Lru(size)
    recent: list[int] = []
    for key, writes in steps:
        if writes:
            cache.put(key, key)
        elif cache.get(key) is None:
            continue
        recent = [key, *(other for other in recent if other != key)][:size]
    assert len(cache) == len(recent)
    assert [cache.get(key) for key in recent] == recent
