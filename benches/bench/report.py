"""Tables: as text for people, and as JSON for programs."""

import dataclasses
import pathlib

WIDTH = 110


@dataclasses.dataclass
class Table:
    name: str
    title: str
    # From the keys of rows to what their columns are called in the text; others are in the JSON only.
    columns: dict
    rows: list
    # Contestants that did not take part, with the reason.
    missing: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)

    def as_json(self):
        return {key: getattr(self, key) for key in ("name", "title", "rows", "missing", "notes")}


def shown(value):
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)


def grid(columns, rows):
    cells = [list(columns.values()), *([shown(row.get(key)) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for line in cells:
        first, *others = (cell.rjust(width) for cell, width in zip(line, widths))
        yield "  ".join([line[0].ljust(len(first)), *others]).rstrip()


def text(results, tables):
    lines = [f"{key}: {value}" for key, value in results["machine"].items() if isinstance(value, str)]
    lines += [f"{name} {version}" for name, version in results["machine"]["versions"].items()]
    lines.append(results["command"])
    for table in tables:
        lines += ["", table.title, "=" * min(len(table.title), WIDTH), *grid(table.columns, table.rows)]
        lines += [f"missing: {name}: {reason}" for name, reason in table.missing.items()]
        lines += table.notes
    return "\n".join(lines) + "\n"


def write(path, content):
    pathlib.Path(path).write_text(content, encoding="utf-8")
