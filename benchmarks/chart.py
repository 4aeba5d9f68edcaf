"""Bar charts as SVG, without a plotting library."""

from __future__ import annotations

from html import escape

WIDTH, LABEL, ROW, TITLE = 760, 210, 26, 40


def bars(panels: list[tuple[str, dict[str, float]]]) -> str:
    """Return an SVG of horizontal bars: for each panel its title, and a bar for each name and value."""
    parts: list[str] = []
    top = 8
    for title, values in panels:
        parts.append(f'<text x="8" y="{top + 22}" font-weight="bold">{escape(title)}</text>')
        top += TITLE
        most = max(values.values()) or 1
        for number, (name, value) in enumerate(values.items()):
            length = (WIDTH - LABEL - 80) * value / most
            color = "#d2691e" if number == 0 else "#8a9ba8"
            middle = top + ROW * 0.66
            parts.append(f'<text x="{LABEL - 8}" y="{middle:.0f}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="{LABEL}" y="{top + 3}" width="{length:.1f}" height="{ROW - 6}" fill="{color}"/>')
            parts.append(f'<text x="{LABEL + length + 6:.1f}" y="{middle:.0f}">{value:.2f}</text>')
            top += ROW
        top += 10
    frame = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    style = 'font-family="sans-serif" font-size="13"'
    background = f'<rect width="{WIDTH}" height="{top}" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {frame} {style}>{background}{"".join(parts)}</svg>\n'
