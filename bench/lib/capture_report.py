"""The tables of bench/capture, and what its figures must show."""
import os

from savers import WHAT
from table import (cell, into_document, markdown, median, number, ratio_row)
from vm import ROOT

DOCUMENT = os.path.join(ROOT, "docs/benchmarks.md")
# On a disk every tool's time ends when the image is on it.
WALL = {"tmpfs": "wall_s", "ext4": "disk_s"}


class Figures:
    def __init__(self, rows):
        self.rows = rows

    def of(self, size, dest, peer, name):
        return [r.get(name) for r in self.rows
                if (r["size"], r["dest"], r["peer"]) == (size, dest, peer)]

    def median(self, *key):
        return median(self.of(*key))

    def unique(self, name):
        return list(dict.fromkeys(r[name] for r in self.rows))


def _table(f, size, dest):
    rows = []
    for peer in WHAT:
        def get(name):
            return f.of(size, dest, peer, name)
        if not get("wall_s"):
            continue
        rows.append([
            WHAT[peer], len(get("wall_s")), cell(get("wall_s")),
            cell(get("disk_s")) if dest == "ext4" else "",
            cell(get("downtime_ms")),
            cell([100 * s for s in get("speed") if s is not None]),
            cell(get("firn_cpu_s")), cell(get("qemu_cpu_s")),
            cell(get("peak_mib")), cell(get("stored_mb"))])
    return markdown(
        ["", "n", "wall s", "on disk s" if dest == "ext4" else "",
         "downtime ms", "guest speed %", "firn CPU s", "QEMU CPU s",
         "firn peak MiB", "stored MB"], rows)


def _shows(f, size, dest):
    wall = WALL[dest]

    def ratio(one, other, name):
        below = f.median(size, dest, other, name)
        return f.median(size, dest, one, name) / below if below else (
            float("nan"))

    most_mapped = {"tmpfs": 3.0, "ext4": 1.2}[dest]
    rows = [
        ratio_row("wall, to zstd -1", ratio("firn", "zstd", wall), 0.7),
        ratio_row("stored, to zstd -1", ratio("firn", "zstd", "stored_mb"),
                  1.0),
        ratio_row("downtime, to zstd -1",
                  ratio("firn", "zstd", "downtime_ms"), 1.0),
        ratio_row("wall, to mapped-ram", ratio("firn", "mapped", wall),
                  most_mapped),
        ratio_row("wall at the fastest level, to mapped-ram",
                  ratio("firn-fast", "mapped", wall),
                  2.0 if dest == "tmpfs" else 1.2),
        ratio_row("wall without compression, to mapped-ram",
                  ratio("firn-none", "mapped", wall),
                  2.0 if dest == "tmpfs" else 1.2),
        ratio_row("second snapshot's wall, to the first",
                  ratio("firn-second", "firn", wall), 0.6),
        ratio_row("second's new bytes, to the changed pages alone",
                  _second_bytes(f, size, dest), 1.2),
        ratio_row("downtime, to file:", ratio("firn", "file", "downtime_ms"),
                  1.2),
        ratio_row("downtime", f.median(size, dest, "firn", "downtime_ms"), 60,
                  unit=" ms"),
        ratio_row("guest speed meanwhile",
                  100 * f.median(size, dest, "firn", "speed"), 60, most=False,
                  unit=" %"),
        ratio_row("greatest stage of its CPU but compression",
                  _greatest_stage(f, size, dest), 25, unit=" %"),
        ratio_row("peak memory", f.median(size, dest, "firn", "peak_mib"), 256,
                  unit=" MiB"),
    ]
    return markdown(["firn", "", "target", "met"], rows)


def _second_bytes(f, size, dest):
    ratios = [r["stored_mb"] / r["floor_mb"] for r in f.rows
              if r.get("floor_mb") and (r["size"], r["dest"]) == (size, dest)]
    return median(ratios)


def _greatest_stage(f, size, dest):
    parts = []
    for told in f.of(size, dest, "firn", "firn"):
        stages = (told or {}).get("cpu_ms")
        if stages:
            parts.append(100 * max(v for k, v in stages.items()
                                   if k != "compress") / sum(stages.values()))
    return median(parts)


def _growth(f):
    """How much more than the RAM each grows from the least size to the
    greatest; 1.0 is in step with it."""
    sizes = f.unique("size")
    if len(sizes) < 2:
        return ""
    least, most = sizes[0], sizes[-1]
    rows = []
    for dest in f.unique("dest"):
        for peer in WHAT:
            def growth(name):
                a = f.median(least, dest, peer, name)
                b = f.median(most, dest, peer, name)
                return number(b / a / (most / least)) if a else "–"
            if f.of(most, dest, peer, "wall_s"):
                rows.append([dest, WHAT[peer]] + [growth(n) for n in (
                    WALL[dest], "downtime_ms", "firn_cpu_s", "peak_mib",
                    "stored_mb")])
    return (f"\nGrowth from {least} to {most} GiB, as a part of the RAM's:\n\n"
            + markdown(["", "", "wall", "downtime", "firn CPU", "peak",
                        "stored"], rows) + "\n")


def _stages(f):
    """firn's own account of its processor time, where it gives one."""
    texts = []
    for r in f.rows:
        told = r.get("firn", {}).get("cpu_ms") if r["peer"] == "firn" else None
        if isinstance(told, dict) and r["run"] == 0:
            total = sum(told.values()) or 1
            texts.append(f"{r['size']} GiB {r['dest']}: " + ", ".join(
                f"{k} {v / 1000 / r['size']:.2f} s/GiB"
                f" ({100 * v / total:.0f} %)" for k, v in told.items()))
    return "\nfirn's CPU by stage:\n\n" + "\n".join(
        "- " + t for t in texts) + "\n" if texts else ""


def tell(found, say, write_docs):
    if "big" in found:
        return _tell_big(found, say, write_docs)
    f = Figures(found["rows"])
    parts = []
    for size in f.unique("size"):
        for dest in f.unique("dest"):
            parts += [f"\n### {size} GiB, {dest}\n", _table(f, size, dest),
                      "", _shows(f, size, dest)]
    parts += [_growth(f), _stages(f)]
    for peer, why in found["refused"].items():
        parts.append(f"\n{WHAT[peer]}: refused: {why}")
    text = "\n".join(parts).strip("\n")
    say("\n" + text)
    if write_docs:
        into_document(DOCUMENT, "capture", text)
    return None


def _tell_big(found, say, write_docs):
    big = found["big"]
    rows = [[name, cell([r.get(key) for r in big])] for name, key in (
        ("firn: wall s", "firn_s"), ("firn: peak MiB", "peak_mib"),
        ("firn: CPU s", "firn_cpu_s"),
        ("firn: stored MB", "stored_mb"), ("firn: pages stored", "pages"),
        ("firn: index bytes a stored page", "index_bytes_a_page"),
        ("QEMU migrate to a process that drops all: wall s", "drop_s"))]
    ratios = [r["firn_s"] / r["drop_s"] for r in big]
    shows = [
        ratio_row("wall, to QEMU's migrate", median(ratios), 1.3),
        ratio_row("peak memory", median([r["peak_mib"] for r in big]), 300,
                  unit=" MiB"),
        ratio_row("index bytes a stored page",
                  median([r["index_bytes_a_page"] for r in big]), 10)]
    text = "\n".join([
        "### 32 GiB, 1 GiB written, tmpfs\n", markdown(["", ""], rows), "",
        markdown(["firn", "", "target", "met"], shows)])
    say("\n" + text)
    if write_docs:
        into_document(DOCUMENT, "capture-big", text)
