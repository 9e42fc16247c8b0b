r"""Prompts with placeholders, of agents and of heartbeats: values are put in, and nothing is ever run.

    {{name}}                          the value, or nothing when there is none
    {{#if name}}…{{else}}…{{/if}}     one part or the other, by whether the value is there and not empty
    \{{                               two braces, as they are

Braces that are neither stay as they are. What is put in is not read again: a value cannot hold a placeholder.
"""

import re
from collections.abc import Collection, Iterator, Mapping

MOST_PLACEHOLDERS = 200
"""Placeholders in one template: it bounds what a short one can grow to."""

_MARK = re.compile(r"(?P<escaped>\\\{\{)|\{\{(?P<tag>[^{}]*)\}\}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")


class TemplateError(ValueError):
    """The template cannot be meant as it stands; the message says where and why."""


def check_template(template: str) -> None:
    """Raise `TemplateError` for a tag that is none, an `if` that is not closed, or too many placeholders."""
    open_ifs: list[bool] = []  # for each: whether its else has come
    for number, (tag, at) in enumerate(_tags(template), start=1):
        if number > MOST_PLACEHOLDERS:
            raise TemplateError(f"there are more than {MOST_PLACEHOLDERS} placeholders")
        match tag.split():
            case ["#if", name] if _NAME.fullmatch(name):
                open_ifs.append(False)
            case ["else"] if open_ifs and not open_ifs[-1]:
                open_ifs[-1] = True
            case ["/if"] if open_ifs:
                open_ifs.pop()
            case [name] if name != "else" and _NAME.fullmatch(name):
                pass
            case _:
                raise TemplateError(f"{{{{{tag[:40]}}}}} at character {at} is no placeholder that is known here")
    if open_ifs:
        raise TemplateError("an {{#if …}} has no {{/if}}")


def placeholders(template: str) -> frozenset[str]:
    """The names that the template asks for. Never raises."""
    if "{{" not in template:
        return frozenset()
    return frozenset(tag.split()[-1] for tag, _ in _tags(template) if tag.strip()) - {"else", "/if"}


def render(template: str, values: Mapping[str, str], names: Collection[str] | None = None) -> str:
    """*template* with *values* put in; a name without a value is nothing. Never raises, whatever the template holds.

    With *names*, only these are names of values: any other stays in its braces.
    """
    if "{{" not in template:
        return template
    shown: list[str] = []
    branches: list[bool] = []  # of each open if, from outside in: whether its present part is shown
    end = 0
    for mark in _MARK.finditer(template):
        if all(branches):
            shown.append(template[end : mark.start()])
        end = mark.end()
        if mark["escaped"]:
            if all(branches):
                shown.append("{{")
            continue
        match mark["tag"].split():
            case ["#if", name]:
                branches.append(bool(values.get(name)))
            case ["else"] if branches:
                branches[-1] = not branches[-1]
            case ["/if"] if branches:
                branches.pop()
            case [name] if all(branches):
                shown.append(values.get(name, "") if names is None or name in names else mark[0])
            case _:
                pass
    if all(branches):
        shown.append(template[end:])
    return "".join(shown)


def _tags(template: str) -> Iterator[tuple[str, int]]:
    for mark in _MARK.finditer(template):
        if mark["tag"] is not None:
            yield mark["tag"], mark.start()
