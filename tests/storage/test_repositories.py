"""What the repositories promise, whoever keeps the rows."""

import inspect
from datetime import timedelta

import attrs
import pytest
import trio

from tests.support.storage import NODE, START, Store, at, closed, events, key, message, opened, session_key, token
from understudy.storage.entries import MessagesAdded
from understudy.storage.errors import StoreConflict, Unstorable
from understudy.storage.journal import Journal
from understudy.storage.memory import MemoryStore
from understudy.storage.records import (
    AuditEntry,
    DiagnosticRun,
    KeyClaim,
    LockoutRule,
    Role,
    RotationOutcome,
    Session,
    SessionKey,
    SessionStatus,
    StoredAnswer,
    User,
    Workspace,
    WorkspaceRole,
    new_id,
)
from understudy.storage.repositories import Repositories

RULE = LockoutRule(limit=3, window=timedelta(minutes=15), first=timedelta(minutes=1), ceiling=timedelta(hours=1))


def test_the_memory_twins_have_the_methods_of_the_real_ones() -> None:
    memory = MemoryStore()
    real = inspect.get_annotations(Repositories) | {"journal": Journal}
    for name, kind in real.items():
        twin = type(getattr(memory, name))
        for method, function in inspect.getmembers(kind, inspect.isfunction):
            if method.startswith("_") or method == "listening":
                continue
            assert inspect.signature(function) == inspect.signature(getattr(twin, method)), f"{name}.{method}"


async def test_a_registered_user_owns_a_workspace(store: Store) -> None:
    user = User(new_id("usr"), "Mira@Example.org", "argon2", START, name="Mira")
    workspace = Workspace(new_id("ws"), "Personal", user.id, "personal", START, {"timezone": "UTC"})
    await store.repositories.users.create(user, workspace)
    found = await store.repositories.users.by_email("MIRA@example.ORG")
    assert found is not None
    assert (found.id, found.email, found.name) == (user.id, "mira@example.org", "Mira")
    assert await store.repositories.users.by_id(user.id) == found
    (membership,) = await store.repositories.workspaces.memberships(user.id)
    assert (membership.workspace, membership.role) == (workspace, WorkspaceRole.OWNER)
    assert await store.repositories.workspaces.membership(user.id, workspace.id) == membership
    assert await store.repositories.workspaces.membership(user.id, "ws_other") is None
    assert await store.repositories.workspaces.membership("usr_other", workspace.id) is None


async def test_an_address_can_be_registered_once(store: Store) -> None:
    await store.user("a@b.org")
    with pytest.raises(StoreConflict) as refused:
        await store.user("A@B.org")
    assert refused.value.what == "email"


async def test_creating_the_same_user_again_after_a_lost_answer_is_no_conflict(store: Store) -> None:
    user = User(new_id("usr"), "a@b.org", "argon2", START)
    workspace = Workspace(new_id("ws"), "Personal", user.id, "personal", START)
    for _ in range(2):
        await store.repositories.users.create(user, workspace)


async def test_token_versions_only_rise(store: Store) -> None:
    user, _ = await store.user()
    assert await store.repositories.users.bump_token_version(user.id) == 1
    assert await store.repositories.users.bump_token_version(user.id) == 2
    assert await store.repositories.users.bump_token_version("usr_nobody") is None
    await store.repositories.users.set_password_hash(user.id, "newer")
    found = await store.repositories.users.by_id(user.id)
    assert found is not None
    assert (found.token_version, found.password_hash) == (2, "newer")


async def test_a_refresh_token_is_rotated_once_and_repeats_its_successor_within_the_grace(store: Store) -> None:
    user, _ = await store.user()
    tokens = store.repositories.tokens
    first = token(user.id, "one", family="fam_a")
    await tokens.add(first)
    second = token("usr_somebody", "two", family="fam_b", issued=5)
    rotation = await tokens.rotate(first.token_hash, second, now=at(5))
    assert rotation.outcome is RotationOutcome.ROTATED
    assert rotation.token is not None
    assert (rotation.token.jti, rotation.token.uid, rotation.token.family_id) == (second.jti, user.id, "fam_a")

    again = await tokens.rotate(first.token_hash, token(user.id, "three"), now=at(14))
    assert again.outcome is RotationOutcome.REPEATED
    assert again.token == rotation.token
    assert (
        await tokens.rotate(second.token_hash, token(user.id, "four"), now=at(15))
    ).outcome is RotationOutcome.ROTATED


async def test_a_token_whose_successor_was_used_is_a_replay_however_soon_it_comes(store: Store) -> None:
    user, _ = await store.user()
    tokens = store.repositories.tokens
    first, second = token(user.id, "one"), token(user.id, "two", issued=1)
    await tokens.add(first)
    await tokens.rotate(first.token_hash, second, now=at(1))
    await tokens.rotate(second.token_hash, token(user.id, "three", issued=2), now=at(2))
    replayed = await tokens.rotate(first.token_hash, token(user.id, "four"), now=at(3))
    assert replayed.outcome is RotationOutcome.REPLAYED


async def test_a_replayed_refresh_token_revokes_its_family_and_no_other(store: Store) -> None:
    user, _ = await store.user()
    tokens = store.repositories.tokens
    first, other = token(user.id, "one", family="fam_a"), token(user.id, "x", family="fam_b")
    await tokens.add(first)
    await tokens.add(other)
    await tokens.rotate(first.token_hash, token(user.id, "two"), now=at(1))
    replay = await tokens.rotate(first.token_hash, token(user.id, "three"), now=at(12))
    assert replay.outcome is RotationOutcome.REPLAYED
    assert replay.token is not None
    assert replay.token.jti == first.jti
    successor = await tokens.find(token(user.id, "two").token_hash)
    assert successor is not None
    assert successor.revoked_at == at(12)
    assert (await tokens.rotate(successor.token_hash, token(user.id, "four"), now=at(13))).outcome is (
        RotationOutcome.REFUSED
    )
    untouched = await tokens.find(other.token_hash)
    assert untouched is not None
    assert untouched.revoked_at is None


async def test_of_many_that_refresh_with_one_token_at_once_all_get_the_same_successor(store: Store) -> None:
    user, _ = await store.user()
    first = token(user.id, "one")
    await store.repositories.tokens.add(first)
    rotations = []

    async def refresh(number: int) -> None:
        successor = token(user.id, f"next {number}")
        rotations.append(await store.repositories.tokens.rotate(first.token_hash, successor, now=at(1)))

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(refresh, number)
    assert sorted(rotation.outcome for rotation in rotations) == [RotationOutcome.REPEATED] * 7 + [
        RotationOutcome.ROTATED
    ]
    assert len({rotation.token for rotation in rotations}) == 1


async def test_unknown_expired_and_revoked_tokens_are_refused(store: Store) -> None:
    user, _ = await store.user()
    tokens = store.repositories.tokens
    short, gone = token(user.id, "short", lives=10), token(user.id, "gone")
    await tokens.add(short)
    await tokens.add(gone)
    assert await tokens.revoke_family("fam_1", now=at(0)) == 2
    assert await tokens.revoke_user(user.id, now=at(0)) == 0
    for presented, moment in ((b"?" * 32, 1), (short.token_hash, 10), (gone.token_hash, 1)):
        rotation = await tokens.rotate(presented, token(user.id, "next"), now=at(moment))
        assert (rotation.outcome, rotation.token) == (RotationOutcome.REFUSED, None)
    assert await tokens.sweep(now=at(10)) == 1
    assert await tokens.find(short.token_hash) is None


async def test_failures_lock_a_subject_twice_as_long_each_time_up_to_the_ceiling(store: Store) -> None:
    lockouts = store.repositories.lockouts
    now, lengths = 0.0, []
    for _ in range(8):
        for _ in range(2):
            assert await lockouts.fail("email:a", RULE, now=at(now)) is None
        until = await lockouts.fail("email:a", RULE, now=at(now))
        assert until is not None
        lengths.append((until - at(now)).total_seconds() / 60)
        assert await lockouts.locked_until(["ip:1", "email:a"], now=at(now)) == until
        now += lengths[-1] * 60
        assert await lockouts.locked_until(["ip:1", "email:a"], now=at(now)) is None
    assert lengths == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_failures_outside_the_window_and_before_a_login_do_not_count(store: Store) -> None:
    lockouts = store.repositories.lockouts
    for moment in (0, 1, 901, 902):
        assert await lockouts.fail("ip:1", RULE, now=at(moment)) is None
    await lockouts.clear("ip:1")
    assert await lockouts.fail("ip:1", RULE, now=at(903)) is None
    assert await lockouts.locked_until([], now=at(903)) is None
    assert await lockouts.sweep(before=at(904)) == 1


async def test_one_session_is_made_however_many_open_it_at_once(store: Store) -> None:
    user, workspace = await store.user()
    found: list[tuple[Session, bool]] = []

    async def open_one() -> None:
        found.append(await store.repositories.sessions.open(session_key(user, workspace), START))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(open_one)
    assert len({session.id for session, _ in found}) == 1
    assert sum(is_new for _, is_new in found) == 1


async def test_a_session_needs_a_user_and_a_workspace(store: Store) -> None:
    with pytest.raises(Unstorable):
        await store.repositories.sessions.open(SessionKey("ws_no", "usr_no", "a", "chat", "m"), START)


async def test_of_many_that_reset_a_session_at_once_one_does(store: Store) -> None:
    session = await store.session()
    results: list[tuple[Session, Session]] = []

    async def reset() -> None:
        results.append(await store.repositories.sessions.reset(session.id, at(9), epoch=session.epoch))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(reset)
    assert {old.id for old, _ in results} == {session.id}
    assert len({new.id for _, new in results}) == 1
    old, new = results[0]
    assert (old.status, old.archived_at) == (SessionStatus.ARCHIVED, at(9))
    assert (new.status, new.key, new.epoch) == (SessionStatus.ACTIVE, session.key, 0)
    assert await store.repositories.sessions.open(session.key, at(10)) == (new, False)
    with pytest.raises(LookupError):
        await store.repositories.sessions.reset("ses_no", at(9), epoch=0)


async def test_claiming_raises_the_epoch_and_an_unknown_session_is_none(store: Store) -> None:
    session = await store.session()
    claimed = await store.repositories.sessions.claim(session.id, NODE)
    assert claimed is not None
    assert claimed.epoch == session.epoch + 1
    assert await store.repositories.sessions.claim("ses_no", NODE) is None
    assert await store.repositories.sessions.load("ses_no") is None


async def test_users_see_their_own_sessions_only(store: Store) -> None:
    mine, theirs = await store.session(), await store.session()
    sessions = store.repositories.sessions
    begin = opened(theirs)
    await store.write(begin)
    assert await sessions.get(theirs.id, uid=mine.key.uid) is None
    assert await sessions.get(theirs.id, uid=theirs.key.uid) is not None
    assert await sessions.messages(theirs.id, uid=mine.key.uid) == ()
    assert len(await sessions.messages(theirs.id, uid=theirs.key.uid)) == 1
    assert await sessions.turn(begin.turn_id, uid=mine.key.uid) is None
    assert await sessions.turn(begin.turn_id, uid=theirs.key.uid) is not None
    listed, total = await sessions.list(mine.key.uid)
    assert ([session.id for session in listed], total) == ([mine.id], 1)


async def test_sessions_are_listed_newest_activity_first_by_page_and_filter(store: Store) -> None:
    user, workspace = await store.user()
    sessions = store.repositories.sessions
    made = [(await sessions.open(session_key(user, workspace, f"s{n}"), at(n)))[0] for n in range(5)]
    await sessions.reset(made[0].id, at(100), epoch=made[0].epoch)
    page, total = await sessions.list(user.id, limit=2, offset=1)
    assert ([session.key.surface_id for session in page], total) == (["s4", "s3"], 6)
    page, total = await sessions.list(user.id, limit=2, offset=50)
    assert (list(page), total) == ([], 6)
    page, total = await sessions.list(user.id, status=SessionStatus.ARCHIVED)
    assert ([session.id for session in page], total) == ([made[0].id], 1)
    assert (await sessions.list(user.id, agent_id="other"))[1] == 0
    assert (await sessions.list(user.id, surface="chat", workspace_id=workspace.id, agent_id="chad"))[1] == 6


async def test_messages_are_read_newest_page_first_in_time_order(store: Store) -> None:
    session = await store.session()
    said = tuple(message(session, None, Role.USER, f"m{n}") for n in range(7))
    await store.write(MessagesAdded(session.epoch, session.id, said))
    sessions = store.repositories.sessions
    page = await sessions.messages(session.id, limit=3)
    assert [x.content for x in page] == ["m4", "m5", "m6"]
    page = await sessions.messages(session.id, limit=3, before=page[0].id)
    assert [x.content for x in page] == ["m1", "m2", "m3"]
    page = await sessions.messages(session.id, limit=3, before=page[0].id)
    assert [x.content for x in page] == ["m0"]
    assert await sessions.messages(session.id, before="msg_unknown") == ()


async def test_running_turns_are_found_until_they_are_closed(store: Store) -> None:
    session, other = await store.session(), await store.session()
    sessions = store.repositories.sessions
    begin, elsewhere = opened(session), opened(other)
    await store.journal.write([(begin,), (elsewhere,)])
    assert set(await sessions.abandoned_sessions()) == {session.id, other.id}
    running = await sessions.running_turn(session.id)
    assert running is not None
    assert running.id == begin.turn_id
    await store.write(closed(session, begin.turn_id))
    assert await sessions.running_turn(session.id) is None
    assert await sessions.abandoned_sessions() == (other.id,)


async def test_a_turn_is_found_by_its_idempotency_key_while_that_lasts(store: Store) -> None:
    session = await store.session()
    recent = opened(session, started_at=START.now(START.tzinfo), idempotency=key())
    await store.write(recent)
    found = await store.repositories.sessions.turn_by_idempotency(key().scope, "k1")
    assert found is not None
    assert (found[0], found[1].id) == (key(), recent.turn_id)
    assert await store.repositories.sessions.turn_by_idempotency(key().scope, "k2") is None
    old = opened(session, started_at=at(-(10**8)), idempotency=key("k3"))
    await store.write(old)
    assert await store.repositories.idempotency.sweep(now=START.now(START.tzinfo)) == 0
    running = await store.repositories.sessions.turn_by_idempotency(key().scope, "k3")
    assert running is not None, "its turn runs still: whoever repeats the request is not to begin another"
    await store.write(closed(session, old.turn_id))
    assert await store.repositories.sessions.turn_by_idempotency(key().scope, "k3") is None
    brief = attrs.evolve(key("k4"), lasts=timedelta(seconds=300))
    await store.write(opened(session, started_at=at(0), idempotency=brief))
    assert await store.repositories.idempotency.find(brief.scope, "k4", now=at(299)) is not None
    assert await store.repositories.idempotency.find(brief.scope, "k4", now=at(300)) is None


async def test_events_are_read_in_order_after_a_number_and_pruned_by_age(store: Store) -> None:
    session, busy = await store.session(), await store.session()
    await store.journal.write([(events(session, 1, 2, 3, 4),), (opened(busy), events(busy, 1))])
    sessions = store.repositories.sessions
    assert [x.seq for x in await sessions.events(session.id, 1, 2)] == [2, 3]
    assert await sessions.events(session.id, 4, 10) == ()
    assert await sessions.prune_events(at(3)) == 2
    assert [x.seq for x in await sessions.events(session.id, 0, 10)] == [3, 4]
    assert [x.seq for x in await sessions.events(busy.id, 0, 10)] == [1]


async def test_an_idempotency_key_is_fresh_once_then_answers(store: Store) -> None:
    keys = store.repositories.idempotency
    assert isinstance(await keys.begin(key(), now=START), KeyClaim)
    running = await keys.begin(key(), now=at(1))
    assert isinstance(running, StoredAnswer)
    assert (running.turn_id, running.status_code) == (None, None)
    with pytest.raises(StoreConflict):
        await keys.begin(key(body=b"other"), now=at(1))
    headers = (("location", "/jobs/1"), ("etag", 'W/"x"'))
    await keys.complete(key(), status_code=201, body=b'{"ok": true}', headers=headers)
    answered = await keys.begin(key(), now=at(2))
    assert isinstance(answered, StoredAnswer)
    assert (answered.status_code, answered.body, answered.headers) == (201, b'{"ok": true}', headers)
    await keys.release(key())
    assert await keys.find(key().scope, "k1", now=at(3)) == answered
    assert isinstance(await keys.begin(key(), now=at(24 * 3600)), KeyClaim)


async def test_a_key_whose_outcome_is_in_doubt_keeps_its_seed_until_it_is_answered(store: Store) -> None:
    keys = store.repositories.idempotency
    first = await keys.begin(key(), now=START, claimant="one")
    await keys.release(key(), claimant="one", doubtful=True)
    with pytest.raises(StoreConflict):
        await keys.begin(key(body=b"other"), now=at(1))
    second = await keys.begin(key(), now=at(1), claimant="two")
    assert isinstance(first, KeyClaim)
    assert second == first
    await keys.release(key(), claimant="two")  # refused: but what the first one did nobody knows
    assert await keys.begin(key(), now=at(2), claimant="three") == first
    await keys.complete(key(), status_code=201, body=b"{}")
    assert isinstance(await keys.begin(key(), now=at(3)), StoredAnswer)


async def test_a_refused_key_has_another_seed_and_may_have_another_body(store: Store) -> None:
    keys = store.repositories.idempotency
    first = await keys.begin(key(), now=START, claimant="one")
    await keys.release(key(), claimant="one")
    second = await keys.begin(key(body=b"other"), now=at(1))
    assert isinstance(second, KeyClaim)
    assert second != first


async def test_a_claim_is_by_name_and_ends_with_its_lease(store: Store) -> None:
    keys, lease = store.repositories.idempotency, timedelta(seconds=10)
    first = await keys.begin(key(), now=START, claimant="one", lease=lease)
    assert await keys.begin(key(), now=at(1), claimant="one", lease=lease) == first
    assert isinstance(await keys.begin(key(), now=at(10), claimant="two", lease=lease), StoredAnswer)
    await keys.release(key(), claimant="two", doubtful=True)  # is not theirs to give back
    assert isinstance(await keys.begin(key(), now=at(10), claimant="two", lease=lease), StoredAnswer)
    assert await keys.begin(key(), now=at(11), claimant="two", lease=lease) == first
    await keys.release(key(), claimant="one")
    assert isinstance(await keys.begin(key(), now=at(12), claimant="one", lease=lease), StoredAnswer)


async def test_a_released_or_swept_key_is_fresh_again(store: Store) -> None:
    keys = store.repositories.idempotency
    assert isinstance(await keys.begin(key(), now=START), KeyClaim)
    await keys.release(key())
    assert isinstance(await keys.begin(key(), now=START, ttl=timedelta(seconds=5)), KeyClaim)
    assert await keys.sweep(now=at(4)) == 0
    assert await keys.sweep(now=at(5)) == 1


async def test_of_many_that_begin_one_key_at_once_one_is_told_to_do_the_work(store: Store) -> None:
    answers = []

    async def begin() -> None:
        answers.append(await store.repositories.idempotency.begin(key(), now=START))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(begin)
    assert sum(isinstance(answer, KeyClaim) for answer in answers) == 1


async def test_audit_lines_form_a_chain(store: Store) -> None:
    audit = store.repositories.audit
    assert (await audit.verify()).entries == 0
    lines = [
        AuditEntry(new_id("aud"), f"event.{n}", "low", at(n), uid="usr_a", metadata={"n": n, "ü": [None, 1.5]})
        for n in range(4)
    ]
    await audit.append(*lines[:2])
    await audit.append(lines[2], lines[1])
    await audit.append(AuditEntry(new_id("aud"), "other", "high", START, uid="usr_b"))
    await audit.append(lines[3])
    assert list(await audit.of_user("usr_a", limit=3)) == [lines[3], lines[2], lines[1]]
    verdict = await audit.verify()
    assert (verdict.entries, verdict.broken_at) == (5, None)


async def test_concurrent_audit_lines_still_form_one_chain(store: Store) -> None:
    async def append(number: int) -> None:
        await store.repositories.audit.append(AuditEntry(new_id("aud"), "e", "low", at(number), uid="usr_a"))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(append, number)
    verdict = await store.repositories.audit.verify()
    assert (verdict.entries, verdict.broken_at) == (20, None)


async def test_the_newest_diagnostic_runs_are_kept(store: Store) -> None:
    for number in range(13):
        await store.repositories.diagnostics.add(
            DiagnosticRun(new_id("dgn"), "pass", at(number), {"checks": [{"name": "postgres", "ms": number}]})
        )
    runs = await store.repositories.diagnostics.last()
    assert [run.created_at for run in runs] == [at(number) for number in range(12, 2, -1)]
    assert runs[0].report == {"checks": [{"name": "postgres", "ms": 12}]}
    assert len(await store.repositories.diagnostics.last(2)) == 2
