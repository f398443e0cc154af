"""Writing for people: with `rich` on a terminal where it is installed, in plain text everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["Screen"]


class Screen:
    """Lines, a progress bar, and tables. Progress shows on a terminal only."""

    def __init__(self) -> None:
        self._console: Any = None
        if not sys.stdout.isatty():
            return
        try:
            from rich.console import Console
        except ImportError:
            return
        self._console = Console()

    def say(self, text: str = "") -> None:
        if self._console is None:
            print(text)
        else:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar that the function given to the block moves by one."""
        if self._console is None:
            with _plain_progress(title, total) as advance:
                yield advance
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda: bar.advance(task)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table whose first column is text and whose others are numbers."""
        if self._console is None:
            _plain_table(title, columns, rows)
            return
        from rich.table import Table

        table = Table(title=title, title_justify="left")
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self._console.print(table)


@contextmanager
def _plain_progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    shown = sys.stderr.isatty()
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if shown:
            print(f"\r{title}: {done}/{total}", end="", file=sys.stderr, flush=True)

    yield advance
    if shown:
        print(file=sys.stderr)


def _plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    print(title)
    for row in (columns, *rows):
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join((row[0].ljust(widths[0]), *numbers)))
