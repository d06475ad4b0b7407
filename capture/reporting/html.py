"""Self-contained HTML pages: one file with embedded pictures, without scripts."""

import base64
import html
import re
from collections.abc import Mapping, Sequence

_NUMBER = re.compile(r"^([−-]?\d[\d,]*(?:\.\d+)?)\s*(\S.*)?$")
_FEWEST_BARS = 3


def page(title: str, parts: Sequence[str], refresh_s: int | None = None) -> str:
    """A complete page from parts that are HTML; a browser reads it again after `refresh_s`."""
    body = "\n".join(parts)
    refresh = "" if refresh_s is None else f'\n<meta http-equiv="refresh" content="{refresh_s}">'
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">{refresh}
<title>sweepdepth: {html.escape(title)}</title>
<style>{_STYLE}</style>
<h1>{html.escape(title)}</h1>
{body}
</html>
"""


def paragraph(text: str) -> str:
    """Plain text as a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def heading(text: str) -> str:
    """A section heading."""
    return f"<h2>{html.escape(text)}</h2>"


def preformatted(text: str) -> str:
    """Preformatted text, such as a command's output."""
    return f"<pre>{html.escape(text)}</pre>"


def listing(items: Sequence[str]) -> str:
    """A list of items."""
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def facts(values: Mapping[str, object]) -> str:
    """Names and values as a table of two columns."""
    rows = "".join(
        f"<tr><th class='label'>{html.escape(str(name))}</th><td class='fact'>{html.escape(str(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<div class='wide'><table>{rows}</table></div>"


def picture(title: str, png: bytes) -> str:
    """An embedded picture with its title."""
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption><img alt="{html.escape(title, quote=True)}" '
        f'src="data:image/png;base64,{data}"></figure>'
    )


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str = "",
    note: str = "",
    labels: int = 1,  # number of leading columns with labels
    bars: bool = False,
) -> str:
    """A table; with `bars`, numeric columns in one unit get background bars of proportional length."""
    shares = [_shares([row[k] for row in rows]) if bars and k >= labels else None for k in range(len(columns))]

    def cells(texts: Sequence[str], tag: str, number: int | None) -> str:
        parts = []
        for k, text in enumerate(texts):
            share = None if number is None else shares[k]
            bar = "" if share is None or number is None else f' style="--share:{100 * share[number]:.1f}%"'
            kind = ' class="label"' if k < labels else (' class="bar"' if bar else "")
            parts.append(f"<{tag}{kind}{bar}>{html.escape(text)}</{tag}>")
        return f"<tr>{''.join(parts)}</tr>"

    body = "".join(cells(row, "td", number) for number, row in enumerate(rows))
    above = (heading(title) if title else "") + (paragraph(note) if note else "")
    head = cells(columns, "th", None)
    return f"{above}<div class='wide'><table><thead>{head}</thead><tbody>{body}</tbody></table></div>"


def _shares(texts: Sequence[str]) -> list[float] | None:
    """Each number as a fraction of the largest; None if bars would be useless or misleading."""
    matches = [_NUMBER.match(text.strip()) for text in texts]
    if len(texts) < _FEWEST_BARS or not all(matches):
        return None
    values = [float(match[1].replace(",", "").replace("−", "-")) for match in matches if match]
    units = {match[2] for match in matches if match}
    if len(units) > 1 or min(values) < 0 or max(values) <= 0 or min(values) == max(values):
        return None
    return [value / max(values) for value in values]


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #222; }
h2 { margin: 2.2rem 0 0; font-size: 1.15rem; }
p { margin: .2rem 0 .6rem; color: #555; max-width: 60rem; }
pre { overflow-x: auto; color: #555; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }
th { font-weight: 600; white-space: normal; vertical-align: bottom; }
.label, .fact { text-align: left; }
.fact { white-space: normal; }
.bar { background: linear-gradient(to left, #d8d2e8 var(--share), transparent var(--share)); }
figure { margin: 1.2rem 0; }
figcaption { font-weight: 600; }
img { max-width: 100%; }
"""
