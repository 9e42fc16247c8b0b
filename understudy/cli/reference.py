"""``understudy reference``: the pages of ``docs/reference`` that are made from the code."""

from collections.abc import Callable
from pathlib import Path

import click


def _configuration() -> str:
    from understudy.config import reference

    return reference()


def _http() -> str:
    from understudy.cli.pages import http_page
    from understudy.http.app import create_app
    from understudy.http.openapi import document

    return http_page(document(create_app()))


def _telemetry() -> str:
    from understudy.cli.pages import telemetry_page

    return telemetry_page()


PAGES: dict[str, Callable[[], str]] = {"configuration": _configuration, "http": _http, "telemetry": _telemetry}


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
