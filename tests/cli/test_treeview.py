"""The tree as it is drawn from snapshots and changes."""

from typing import Any

from rich.console import Console

from understudy.cli.treeview import LINGER, TreeView


def actor(address: str, state: str = "idle", **more: Any) -> dict[str, Any]:
    kind = address.partition("/")[0]
    return {"address": address, "kind": kind, "state": state, "strategy": None, "restarts": 0, "children": [], **more}


def supervisor(address: str, strategy: str, *children: dict[str, Any]) -> dict[str, Any]:
    return actor(address, kind="supervisor", strategy=strategy) | {"children": list(children)}


def tree(*sessions: dict[str, Any]) -> dict[str, Any]:
    storage = supervisor("storage", "rest_for_one", actor("storage/database"), actor("storage/journal"))
    return supervisor("", "one_for_one", storage, supervisor("sessions", "dynamic", *sessions))


def drawn(view: TreeView, now: float, most: int | None = None) -> list[str]:
    console = Console(width=100, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(view.draw(now, most))
    return [line.rstrip() for line in capture.get().splitlines()]


def lost(view: TreeView) -> bool:
    return view.lost


def test_a_snapshot_is_drawn_as_it_nests() -> None:
    view = TreeView()
    view.snapshot(tree(actor("session/ses_1", "busy", status="thinking", mailbox=2, readers=1)), 0)
    assert drawn(view, 0) == [
        "/  one_for_one",
        "├── storage  rest_for_one",
        "│   ├── storage/database  idle",
        "│   └── storage/journal  idle",
        "└── sessions  dynamic",
        "    └── session/ses_1  busy (thinking)  2 waiting  1 reading",
    ]


def test_a_session_is_seen_being_made_busy_crashed_restarted_and_passivated() -> None:
    view = TreeView()
    view.snapshot(tree(actor("session/ses_1")), 0)
    view.change([actor("session/ses_2", "starting")], [], 1)
    assert "    └── session/ses_2  starting" in drawn(view, 1)
    view.change([actor("session/ses_2", "busy")], [], 2)
    assert "    └── session/ses_2  busy" in drawn(view, 2)
    view.change([actor("session/ses_2", "idle", status="streaming")], [], 2)
    assert "    └── session/ses_2  streaming" in drawn(view, 2)
    crash = {"at": 1.0, "error": "ValueError: bad luck\nand more", "message": "StartTurn"}
    view.change([actor("session/ses_2", "backing off", restarts=1, crash=crash)], [], 3)
    assert "    └── session/ses_2  backing off  restarts 1  ValueError: bad luck" in drawn(view, 3)
    view.change([actor("session/ses_2", "idle", restarts=1, crash=crash)], [], 3 + LINGER)
    assert "    └── session/ses_2  idle  restarts 1" in drawn(view, 3 + LINGER)
    view.change([], ["session/ses_2"], 10)
    assert "    └── session/ses_2  gone" in drawn(view, 10)
    view.expire(10 + LINGER)
    assert not any("ses_2" in line for line in drawn(view, 10 + LINGER))


def test_an_actor_that_comes_back_while_it_is_shown_as_gone_is_alive_again() -> None:
    view = TreeView()
    view.snapshot(tree(actor("session/ses_1")), 0)
    view.change([], ["session/ses_1"], 1)
    view.change([actor("session/ses_1", "idle")], [], 2)
    view.expire(60)
    assert view.states()["session/ses_1"] == "idle"


def test_what_cannot_be_placed_asks_for_a_snapshot_which_teaches_its_place() -> None:
    view = TreeView()
    view.snapshot(tree(), 0)
    view.change([actor("session/ses_1")], [], 1)
    assert lost(view)
    view.snapshot(tree(actor("session/ses_1")), 1)
    assert not lost(view)
    view.change([actor("session/ses_2"), actor("storage/outbox")], [], 2)
    assert not lost(view)
    assert drawn(view, 9)[-1] == "    └── session/ses_2  idle"
    assert "│   └── storage/outbox  idle" in drawn(view, 9)


def test_what_a_new_snapshot_no_longer_has_is_gone() -> None:
    view = TreeView()
    view.snapshot(tree(actor("session/ses_1"), actor("session/ses_2")), 0)
    view.snapshot(tree(actor("session/ses_2")), 1)
    assert view.states()["session/ses_1"] == "gone"
    view.expire(1 + LINGER)
    assert "session/ses_1" not in view.states()


def test_of_many_alike_the_lively_ones_are_shown_and_the_rest_is_counted() -> None:
    view = TreeView()
    sessions = [actor(f"session/ses_{number:03}") for number in range(100)]
    sessions[57] = actor("session/ses_057", "busy")
    view.snapshot(tree(*sessions), 0)
    lines = drawn(view, 0, most=5)
    assert any("ses_057" in line for line in lines)
    assert lines[-1].strip() == "└── ... and 95 more"
    assert len(drawn(view, 0)) == 105


def test_the_children_of_partitions_stand_under_the_supervisor_that_is_partitioned() -> None:
    view = TreeView()
    partitions = [supervisor(f"live/~{number}", "dynamic") for number in range(4)]
    partitions[2]["children"] = [actor("session/ses_1")]
    view.snapshot(supervisor("", "one_for_one", supervisor("live", "partition", *partitions)), 0)
    assert drawn(view, 0) == ["/  one_for_one", "└── live  partition", "    └── session/ses_1  idle"]
    view.change([actor("session/ses_2")], [], 9)
    assert "    └── session/ses_2  idle" in drawn(view, 9)


def test_static_children_are_all_shown_however_many_they_are() -> None:
    view = TreeView()
    view.snapshot(supervisor("", "one_for_one", *[actor(f"service{number}") for number in range(20)]), 0)
    assert len(drawn(view, 0, most=3)) == 21
