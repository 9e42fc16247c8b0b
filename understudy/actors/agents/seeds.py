"""Agents from the configuration: everybody's, as they stand in the file, and changed by changing it.

The file is the truth about them: they are kept in memory and not in the database, so that one taken out of the file is
gone, and no workspace can change what all of them see. A workspace's own agent of the same id goes before.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, get_args

import attrs
import msgspec

from understudy.actors.agents.checks import check_agent
from understudy.actors.agents.document import AgentDocument, AgentId, from_json, to_json
from understudy.actors.agents.messages import AgentView, Source
from understudy.actors.errors import Detail, Invalid


class _Entry(AgentDocument, frozen=True, kw_only=True):
    id: AgentId


@attrs.frozen
class Seeds:
    """What a configuration's agents came to: those that can be run, what is wrong with others, and what was left out.

    ``problems`` and ``unknown`` name the field as ``<agent>.<path>``.
    """

    agents: tuple[AgentView, ...]
    problems: tuple[Detail, ...]
    unknown: tuple[str, ...]


def read_seeds(entries: Sequence[Mapping[str, Any]], *, model: str, providers: Collection[str]) -> Seeds:
    """Check the *entries*, each an agent in the form of the API.

    One that names no model is on *model* (``provider/model``). Tools and skills are not looked up: they may come later,
    and an agent has those that are there.
    """
    agents: list[AgentView] = []
    problems: list[Detail] = []
    unknown: list[str] = []
    for number, entry in enumerate(entries, start=1):
        name = str(entry.get("id") or f"number {number}")
        unknown += [f"{name}.{path}" for path in _unknown(entry, _Entry)]
        try:
            agents.append(_read(entry, model, providers))
        except msgspec.ValidationError as error:
            problems.append(Detail(name, str(error)))
        except Invalid as refusal:
            problems += [Detail(f"{name}.{detail.path}", detail.issue) for detail in refusal.details]
    return Seeds(tuple(agents), tuple(problems), tuple(unknown))


def _read(entry: Mapping[str, Any], model: str, providers: Collection[str]) -> AgentView:
    provider, _, model_id = model.partition("/")
    given = entry.get("model", {})
    if isinstance(given, Mapping) and not {"provider", "modelId"} & given.keys():
        entry = {**entry, "model": {"provider": provider, "modelId": model_id, **given}}
    read = msgspec.convert(entry, _Entry)
    plain = {**to_json(read), "displayName": read.display_name or read.id}
    document = from_json(plain)
    named = {*document.tools.allow, *document.tools.deny}
    check_agent(read.id, document, providers=providers, tools=named, skills=document.skills)
    digest = hashlib.sha256(msgspec.json.encode(document)).hexdigest()
    return AgentView(read.id, None, document, version=1, revision=f"file:{digest}", source=Source.GLOBAL)


def _unknown(entry: Mapping[str, Any], model: type[msgspec.Struct], path: str = "") -> Iterator[str]:
    """The keys of *entry* that a *model* does not have, also deeper."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(model)}
    for key, value in entry.items():
        if key not in fields:
            yield f"{path}{key}"
            continue
        kinds = [kind for kind in (fields[key], *get_args(fields[key])) if isinstance(kind, type)]
        inner = next((kind for kind in kinds if issubclass(kind, msgspec.Struct)), None)
        if inner is not None and isinstance(value, Mapping):
            yield from _unknown(value, inner, f"{path}{key}.")
