"""Which tools an agent may call: what it allows and what its skills bring, without what it denies."""

from collections.abc import Mapping

import attrs

from understudy.actors.agents.document import AgentDocument

Skills = Mapping[str, tuple[str, ...]]
"""Skills by id, and the names of the tools that each brings. Looked into anew each time: it may change."""

Texts = Mapping[str, str]
"""Skills by id, and what each tells the model; as changeable."""


@attrs.frozen
class Granted:
    """A tool that an agent may call, and why: ``allow``, or ``skill:<id>`` for the first skill that brings it."""

    name: str
    source: str


def granted(document: AgentDocument, skills: Skills) -> tuple[Granted, ...]:
    """The tools the agent may call, each once: allowed ones first, then those of its skills, in its own order.

    A skill that is no more brings nothing.
    """
    found = dict.fromkeys(document.tools.allow, "allow")
    for skill in document.skills:
        for name in skills.get(skill, ()):
            found.setdefault(name, f"skill:{skill}")
    denied = set(document.tools.deny)
    return tuple(Granted(name, source) for name, source in found.items() if name not in denied)
