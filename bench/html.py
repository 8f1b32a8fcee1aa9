"""A document as one page that needs nothing else: no script, no style sheet, no font from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any, Mapping

from .document import scenarios_of
from .harness import Failed
from .table import text_of

_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2, h3 { line-height: 1.2; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: 12px; }
figure { margin: 1rem 0; } figcaption { color: #555; } svg { max-width: 100%; height: auto; }
.invalid { border-left: 4px solid #b00020; padding-left: .8rem; }
"""


def require_matplotlib() -> None:
    """Make sure that plots can be made, before anything is measured.

    :raises Failed: with a text for people.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise Failed("--html needs matplotlib, which is not installed: pip install matplotlib") from error


def page(value: Mapping[str, Any]) -> str:
    """Give the page.

    :raises Failed: matplotlib is not installed.
    """
    require_matplotlib()
    from . import plots

    title = f"VoidLLM benchmark: {value['scenario']}"
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(value['environment']['time'])}</p>"]
    if not value["valid"]:
        parts.append('<p class="invalid">This run is not valid or not complete; the text says why.</p>')
    parts.append(f"<pre>{escape(text_of(value))}</pre>")
    count = 0

    def draw(figure: Any, caption: str) -> None:
        nonlocal count
        if figure is not None:
            count += 1
            drawn = plots.svg(figure, f"plot{count}")
            parts.append(f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>")

    for name, part, results in scenarios_of(value):
        if not part.get("plots"):
            continue
        parts.append(f"<h2>{escape(name)}</h2>")
        draw(
            plots.overheads(results),
            "What the gateway adds: proxied minus direct percentile, with its 95 % interval.",
        )
        for key, curve in part["plots"].items():
            parts.append(f"<h3>{escape(key)}</h3>")
            draw(plots.latencies(curve), "Latency from the moment a request was meant to be sent.")
            draw(plots.seconds(curve), "Second by second; the ways take turns.")
    if value["peers"]:
        parts.append("<h2>Peers</h2>")
        draw(
            plots.frontier(value["peers"]),
            "Rates that were tried and what they add to the P99; dotted: the bounds.",
        )
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
