"""What notebooks show of a value: a small HTML table, and results as pandas."""

import html
from collections.abc import Mapping
from typing import Any

from wm_envs.data.errors import MissingExtraError


def html_card(title: str, facts: Mapping[str, Any]) -> str:
    """A heading and one row for each fact; texts are escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption><b>{html.escape(title)}</b></caption>{rows}</table>"


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
