"""System prompts with placeholders."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.agents.template import (
    MOST_PLACEHOLDERS,
    TemplateError,
    check_template,
    placeholders,
    render,
)

VALUES = {"date": "Monday", "agent.id": "chad", "empty": "", "memory": "{{date}} and {{#if date}}"}


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("no braces", "no braces"),
        ("It is {{date}}, {{ agent.id }}.", "It is Monday, chad."),
        ("[{{unknown}}]", "[]"),
        ("{{#if date}}yes{{/if}}{{#if empty}}no{{/if}}{{#if unknown}}no{{/if}}", "yes"),
        ("{{#if empty}}a{{else}}b{{date}}{{/if}}", "bMonday"),
        ("{{#if date}}1{{#if empty}}2{{else}}3{{/if}}4{{else}}5{{#if date}}6{{/if}}{{/if}}7", "1347"),
        (r"\{{date}} is written {{date}}", "{{date}} is written Monday"),
        ("{ {date} } {{ {date} }} {{", "{ {date} } {{ {date} }} {{"),
        ("{{{date}}}", "{Monday}"),
        ("{{memory}}", "{{date}} and {{#if date}}"),
    ],
)
def test_values_are_put_in_and_everything_else_stays(template: str, shown: str) -> None:
    check_template(template)
    assert render(template, VALUES) == shown


@pytest.mark.parametrize(
    "template",
    [
        "{{#if date}}never closed",
        "{{/if}}",
        "{{else}}",
        "{{#if a}}{{else}}{{else}}{{/if}}",
        "{{#if}}x{{/if}}",
        "{{#each items}}x{{/each}}",
        "{{> partial}}",
        "{{}}",
        "{{a.__class__}}{{a b}}",
        "{{date()}}",
        "{{a|upper}}",
        "{{x}}" * (MOST_PLACEHOLDERS + 1),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused(template: str) -> None:
    with pytest.raises(TemplateError):
        check_template(template)


def test_the_names_a_template_asks_for_are_known() -> None:
    assert placeholders("{{date}} {{#if memory}}{{ user.id }}{{else}}{{/if}} {{}}") == {"date", "memory", "user.id"}


TEXT = st.text(st.characters(exclude_characters="{}\\", exclude_categories=["Cs"]), max_size=5)
NAMES = st.sampled_from(["date", "agent.id", "empty", "memory", "unknown"])
NODES: st.SearchStrategy[list[Any]] = st.recursive(
    st.lists(TEXT | NAMES.map(lambda name: (name,)), max_size=4),
    lambda inner: st.lists(TEXT | st.tuples(NAMES, inner, inner), max_size=3),
    max_leaves=12,
)


def written(nodes: list[Any]) -> str:
    return "".join(map(one_written, nodes))


def one_written(node: Any) -> str:
    match node:
        case (name,):
            return f"{{{{ {name} }}}}"
        case (name, then, otherwise):
            return f"{{{{#if {name}}}}}{written(then)}{{{{else}}}}{written(otherwise)}{{{{/if}}}}"
        case _:
            return str(node)


def meant(nodes: list[Any]) -> str:
    return "".join(map(one_meant, nodes))


def one_meant(node: Any) -> str:
    match node:
        case (name,):
            return VALUES.get(name, "")
        case (name, then, otherwise):
            return meant(then if VALUES.get(name) else otherwise)
        case _:
            return str(node)


@given(NODES)
def test_a_template_of_any_shape_shows_what_it_means(nodes: list[Any]) -> None:
    template = written(nodes)
    check_template(template)
    assert render(template, VALUES) == meant(nodes)


@given(st.lists(st.sampled_from(["{{", "}}", "{{date}}", "{{#if date}}", "{{else}}", "{{/if}}", "\\", "{", " ", "x"])))
def test_no_template_makes_rendering_fail(pieces: list[str]) -> None:
    template = "".join(pieces)
    assert len(render(template, {"date": "Monday"})) <= len(template)
    placeholders(template)
