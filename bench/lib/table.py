"""Medians with their spread, as Markdown; into a document between marks."""
import os
import re
import statistics


def known(values):
    return [v for v in values if v is not None and v == v]


def median(values):
    values = known(values)
    return statistics.median(values) if values else float("nan")


def number(value):
    if value != value:
        return "–"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cell(values):
    """median (least–greatest)"""
    values = known(values)
    if not values:
        return "–"
    if len(values) == 1 or min(values) == max(values):
        return number(median(values))
    return (f"{number(median(values))} ({number(min(values))}–"
            f"{number(max(values))})")


def markdown(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def ratio_row(name, value, target, most=True, unit=""):
    """A line of what a comparison must show."""
    if value != value:
        return [name, "–", target, "not measured"]
    good = value <= target if most else value >= target
    return [name, number(value) + unit,
            ("at most " if most else "at least ") + f"{target}{unit}",
            "yes" if good else "**no**"]


def into_document(path, mark, text):
    """Replaces what stands between <!-- mark --> and <!-- /mark -->."""
    with open(path) as f:
        whole = f.read()
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if begin not in whole:
        whole = whole.rstrip("\n") + f"\n\n{begin}\n{end}\n"
    whole = re.sub(re.escape(begin) + ".*?" + re.escape(end),
                   lambda _: f"{begin}\n{text}\n{end}", whole, flags=re.S)
    with open(path + ".new", "w") as f:
        f.write(whole)
    os.replace(path + ".new", path)
