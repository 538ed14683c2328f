"""What people see of a value: a line of text, a small HTML table, and results as pandas."""

import html
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from wm_envs.data.errors import MissingExtraError

_MAX_ENTRIES = 12  # of a list


def html_card(title: str, facts: Mapping[str, Any]) -> str:
    """A heading and one row for each fact; texts are escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption><b>{html.escape(title)}</b></caption>{rows}</table>"


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 step, 2 steps."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def span(low: Any, high: Any) -> str:
    """A range of values: "2 to 7", or "7" where both are the same."""
    return str(low) if low == high else f"{low} to {high}"


def short_repr(record: Any) -> str:
    """The repr of a dataclass with the kind and shape of its arrays in place of pages of numbers."""
    shown = (f"{entry.name}={_short(getattr(record, entry.name))}" for entry in fields(record))
    return f"{type(record).__name__}({', '.join(shown)})"


def _short(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}".removeprefix("torch.")
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name!r}: {_short(entry)}' for name, entry in value.items())}}}"
    if type(value) in (tuple, list):
        entries = [_short(entry) for entry in value[:_MAX_ENTRIES]]
        entries += ["..."] * (len(value) > _MAX_ENTRIES)
        return f"({', '.join(entries)})" if type(value) is tuple else f"[{', '.join(entries)}]"
    return repr(value)


def data_frame(columns: Mapping[str, Any]) -> Any:
    """A `pandas.DataFrame` of named columns.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("pandas is not installed: pip install 'wm-suite[data]'") from error
    return pd.DataFrame(dict(columns))
