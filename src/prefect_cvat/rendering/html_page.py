"""The frame of all HTML pages: title, style sheet, key figures."""

from __future__ import annotations

import html
from collections.abc import Iterable
from string import Template

__all__ = ["render_key_figures", "wrap_page"]


def wrap_page(content: str, *, title: str) -> str:
    """Make a self-contained HTML page.

    Args:
        content: HTML of the page's body.
        title: The title of the page, as plain text.
    """
    return _PAGE.substitute(title=html.escape(title), content=content)


def render_key_figures(figures: Iterable[tuple[str, str]]) -> str:
    """Render names and values of key figures as a row of large numbers, as HTML."""
    columns = "".join(f"<div><b>{html.escape(value)}</b>{html.escape(name)}</div>" for name, value in figures)
    return f'<div class="numbers">{columns}</div>'


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1280px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0; }
.numbers { display: flex; gap: 2.5rem; margin: 1.5rem 0; }
.numbers b { display: block; font-size: 1.8rem; font-weight: 600; }
ul { list-style: none; padding: 0; }
ul.labels { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; }
ul.labels i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; background: var(--c);
  margin-right: .4em; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(380px, 1fr)); gap: 1.2rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
svg { display: block; width: 100%; height: auto; background: #0002; }
figcaption { padding: .5rem .8rem; font-size: .85rem; }
figcaption span { border: 1px solid var(--c); border-radius: 4px; padding: 0 .4em; }
</style></head><body>
<h1>$title</h1>
$content
</body></html>
""")
