"""The rates as a picture: a panel for each app, on a scale of its own, readable on white and on black."""

from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 860, 250, 120
BAR, GAP, HEAD = 18, 7, 34
PANELS = {
    "rust": "hello world in Rust (and no guest at all: bare hyper)",
    "c": "in C",
    "javascript": "in JavaScript",
    "python": "in plain Python",
    "flask": "in Flask",
}
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; }
.small { font-size: 11px; fill: #57606a; }
.limit { fill: #8c959f; }
.host { fill: #1f6feb; }
.peer { fill: #d4a72c; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.small { fill: #9198a1; }
.limit { fill: #6e7681; }
.host { fill: #4493f8; }
.peer { fill: #bb8009; }
}
"""


def draw(table, machine):
    lines, top = [], 10
    for app, title in PANELS.items():
        rows = [row for row in table.rows if row["app"] == app]
        if not rows:
            continue
        lines.append(f'<text class="title" x="10" y="{top + 16}">{escape(title)}</text>')
        top += HEAD - GAP
        fastest = max(row["requests_per_second"] for row in rows) or 1
        for row in sorted(rows, key=lambda row: -row["requests_per_second"]):
            lines += bar(row, top, fastest)
            top += BAR + GAP
        top += GAP
    told = (
        f"requests a second; {machine['cores']} cores ({machine['processor']}), shared with wrk; "
        f"{machine['date'][:10]}, {machine['commit'] or 'no commit'}"
    )
    lines.append(f'<text class="small" x="10" y="{top + 8}">{escape(told)}</text>')
    size = f'width="{WIDTH}" height="{top + 20}" viewBox="0 0 {WIDTH} {top + 20}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(table.title)}">',
            f"<style>{STYLE}</style>",
            *lines,
            "</svg>\n",
        ]
    )


def bar(row, top, fastest):
    name, rate = row["name"], row["requests_per_second"]
    kind = "limit" if name.startswith("bare-hyper") else "host" if name.startswith("wsgi-host") else "peer"
    length = max(1, round((WIDTH - LEFT - RIGHT) * rate / fastest))
    middle = top + BAR - 5
    yield f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>'
    yield f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{length}" height="{BAR}" rx="2"/>'
    yield f'<text x="{LEFT + length + 6}" y="{middle}">{rate:,}</text>'
