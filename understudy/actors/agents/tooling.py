"""Which tools an agent may call: what it allows and what its skills bring, without what it denies."""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import attrs

from understudy.actors.agents.document import AgentDocument

Skills = Mapping[str, tuple[str, ...]]
"""Skills by id, and the names of the tools that each brings. Looked into anew each time: it may change."""

Texts = Mapping[str, str]
"""Skills by id, and what each tells the model; as changeable."""

ANY = "*"
"""At the end of a name: every tool whose name begins so, of those that come and go."""


class Roster(Protocol):
    """Tools that come and go while the node runs. Looked into anew each time."""

    def names(self) -> Collection[str]:
        """Those known at the moment, also when they cannot be called."""
        ...

    def expects(self, name: str) -> bool:
        """Whether an agent may name this: a tool that may come, or several by their beginning and `ANY`."""
        ...


class NobodyElse:
    """The roster of a node whose tools are all its own."""

    def names(self) -> Collection[str]:
        """None."""
        return ()

    def expects(self, name: str) -> bool:
        """No."""
        del name
        return False


@attrs.frozen
class Granted:
    """A tool that an agent may call, and why: ``allow``, or ``skill:<id>`` for the first skill that brings it."""

    name: str
    source: str


def granted(document: AgentDocument, skills: Skills, roster: Roster | None = None) -> tuple[Granted, ...]:
    """The tools the agent may call, each once: allowed ones first, then those of its skills, in its own order.

    A skill that is no more brings nothing. A name that ends in `ANY` is all of the *roster* that begin so.
    """
    here = sorted(roster.names()) if roster is not None else ()
    found = dict.fromkeys(_spelt_out(document.tools.allow, here), "allow")
    for skill in document.skills:
        for name in _spelt_out(skills.get(skill, ()), here):
            found.setdefault(name, f"skill:{skill}")
    denied = set(_spelt_out(document.tools.deny, here))
    return tuple(Granted(name, source) for name, source in found.items() if name not in denied)


def _spelt_out(names: Iterable[str], here: Iterable[str]) -> Iterable[str]:
    for name in names:
        if name.endswith(ANY):
            yield from (each for each in here if each.startswith(name.removesuffix(ANY)))
        else:
            yield name
