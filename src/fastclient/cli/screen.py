"""Writing for people: with `rich` on a terminal where it is installed, in plain text everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["Screen"]

_WIDEST = 60  # characters that a column is made wide for; what is longer is written all the same


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

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> None:
        """A table whose first columns are texts and whose others are numbers; several texts share the width."""
        if self._console is None:
            _plain_table(title, columns, rows, texts)
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", show_lines=texts > 1)
        for number, column in enumerate(columns):
            text = number < texts
            table.add_column(column, justify="left" if text else "right", no_wrap=texts == 1 or not text)
        for row in rows:
            table.add_row(*map(Text, row))  # words in brackets are words, and no colours
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


def _plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> None:
    widths = [min(_WIDEST, max(map(len, cells))) for cells in zip(columns, *rows, strict=True)]
    print(title)
    for row in (columns, *rows):
        cells = [
            cell.ljust(width) if number < texts else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells))
