"""How a setting is declared: once, as data, beside the field that holds it.

The loader, the command line's flags, the reference page and the warnings about misspelt names are all made from these
declarations; nothing about a setting is written down twice.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import attrs

T = TypeVar("T")

_KEY = "understudy.setting"


@attrs.frozen
class Setting:
    """One setting.

    Attributes:
        field: the attribute of `Settings` that holds it.
        key: its name in ``understudy.toml`` (dots are tables).
        env: its environment variables, the first being the usual one.
        group: the heading it stands under in the reference.
        default: the default as a user would write it, or None when there is no such text.
        doc: what it does, in a sentence or two.
        parse: from a raw value to the typed one; raises `BadValue`.
        secret: never shown, never a flag.
        unset: what happens when nobody sets it, for settings without a default.
    """

    field: str
    key: str
    env: tuple[str, ...]
    group: str
    default: str | None
    doc: str
    parse: Callable[[object], Any]
    secret: bool = False
    unset: str = ""

    @property
    def flag(self) -> str | None:
        """The command line's flag, or None: what is secret must not stand in a list of processes."""
        return None if self.secret else "--" + self.key.replace(".", "-").replace("_", "-")

    def show(self, value: object) -> str:
        """*value* as it may stand in a message: in quotes, cut, and not at all when the setting is secret."""
        if self.secret or "://" in str(value):  # a URL may carry a password
            return "the value"
        spelt = repr(value)
        return spelt if len(spelt) <= 60 else spelt[:56] + "...'"


def setting(
    parse: Callable[[object], T],
    default: str | None = None,
    *,
    env: str | tuple[str, ...],
    group: str,
    doc: str,
    key: str | None = None,
    secret: bool = False,
    unset: str = "",
    absent: Any = None,
) -> T:
    """Declare an attrs field that is a setting; its default is *default* put through *parse*, or else *absent*."""
    names = (env,) if isinstance(env, str) else env
    declared = {
        "key": key,
        "env": names,
        "group": group,
        "default": default,
        "doc": doc,
        "parse": parse,
        "secret": secret,
        "unset": unset,
    }
    value = parse(default) if default is not None else absent
    # The cast is attrs' own convention: a field specifier is typed as the value that the attribute will hold.
    return cast("T", attrs.field(default=value, repr=not secret, metadata={_KEY: declared}))


def declared_settings(cls: type[attrs.AttrsInstance]) -> tuple[Setting, ...]:
    """The settings that the attrs class *cls* declares, in the order of its fields."""
    return tuple(
        Setting(field=field.name, **{**declared, "key": declared["key"] or field.name})
        for field in attrs.fields(cls)
        if (declared := field.metadata.get(_KEY)) is not None
    )
