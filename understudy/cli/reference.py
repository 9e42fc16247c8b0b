"""``understudy reference``: the pages of ``docs/reference`` that are made from the code."""

from collections.abc import Callable
from pathlib import Path

import click


def _configuration() -> str:
    from understudy.config import reference

    return reference()


PAGES: dict[str, Callable[[], str]] = {"configuration": _configuration}


@click.command(hidden=True, epilog="\b\nExample:\n  understudy reference --write docs/reference")
@click.argument("page", type=click.Choice(sorted(PAGES)), required=False)
@click.option("--write", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write files into FOLDER.")
def reference(page: str | None, folder: Path | None) -> None:
    """Print a reference page that is made from the code, or write them all."""
    chosen = [page] if page else sorted(PAGES)
    for name in chosen:
        text = PAGES[name]()
        if folder is None:
            click.echo(text, nl=False)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.md").write_text(text, encoding="utf-8")
            click.echo(f"{folder / name}.md", err=True)
