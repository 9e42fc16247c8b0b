"""A request that was made before."""

from understudy.actors.errors import Conflict
from understudy.actors.session.messages import TurnStarted
from understudy.actors.session.ports import SessionStore
from understudy.storage.records import IdempotencyKey


async def find_replay(store: SessionStore, key: IdempotencyKey) -> TurnStarted | None:
    """The turn that an earlier request with this *key* started; None without one.

    Raises `Conflict` when that request had another body, and `StoreUnavailable`.
    """
    found = await store.turn_by_idempotency(key.scope, key.key)
    if found is None:
        return None
    first, turn = found
    if first.request_hash != key.request_hash:
        raise Conflict("this idempotency key was used with another body")
    return TurnStarted(turn.id, turn.session_id, is_new=False, after=turn.first_seq, replayed=True)
