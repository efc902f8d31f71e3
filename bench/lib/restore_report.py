"""The tables of bench/restore, and what its figures must show."""
from capture_report import DOCUMENT
from restorers import WHAT
from table import (cell, into_document, markdown, median, ratio_row)

NAN = float("nan")


class Figures:
    def __init__(self, rows):
        self.rows = rows

    def of(self, size, cache, peer, name):
        found = []
        for r in self.rows:
            if (r["size"], r["cache"], r["peer"]) == (size, cache, peer):
                found.append(r.get(name, r.get("firn", {}).get(name)))
        return found

    def median(self, *key):
        return median(self.of(*key))

    def ratio(self, size, cache, one, other, name):
        below = self.median(size, cache, other, name)
        return self.median(size, cache, one, name) / below if below else NAN

    def unique(self, name):
        return list(dict.fromkeys(r[name] for r in self.rows))


def _table(f, size, cache):
    rows = []
    for peer in WHAT:
        def get(name):
            return cell(f.of(size, cache, peer, name))
        runs = len(f.of(size, cache, peer, "first_s"))
        if not runs:
            continue
        rows.append([WHAT[peer], runs, get("first_s"), get("responsive_s"),
                     get("full_s"), get("resident_s"), get("touch_faults"),
                     get("touch_p50_us"), get("touch_p99_us"),
                     get("faults"), get("fault_p50_us"), get("fault_p99_us"),
                     get("read_mb"), get("peak_mib")])
    return markdown(
        ["", "n", "first heartbeat s", "responsive s", "full s",
         "firn: resident s", "touches that waited", "p50 us", "p99 us",
         "firn: faults", "p50 us", "p99 us", "read MB", "firn peak MiB"], rows)


def _best(f, size, cache, name):
    found = [f.median(size, cache, p, name) for p in ("file", "zstd",
                                                      "mapped")]
    return min((v for v in found if v == v), default=NAN)


def _shows(f, size, cache):
    first = f.median(size, cache, "firn", "first_s")
    faults = f.ratio(size, cache, "firn-hints", "firn", "faults")
    rows = [
        ratio_row("first heartbeat, to QEMU's best of file, zstd, mapped",
                  first / _best(f, size, cache, "first_s"), 0.15),
        ratio_row("first heartbeat, to a private map of a plain file",
                  f.ratio(size, cache, "firn", "private", "first_s"), 1.5),
        ratio_row("faults gone the second time", 100 * (1 - faults), 90,
                  most=False, unit=" %"),
        ratio_row("responsive, second time to first",
                  f.ratio(size, cache, "firn-hints", "firn", "responsive_s"),
                  0.6),
        ratio_row("full, to QEMU's plain restore",
                  f.ratio(size, cache, "firn", "file", "full_s"), 1.2),
    ]
    return markdown(["firn", "", "target", "met"], rows)


def _growth(f):
    sizes = f.unique("size")
    if len(sizes) < 2:
        return ""
    rows = []
    for cache in f.unique("cache"):
        below = f.median(sizes[0], cache, "firn", "first_s")
        above = f.median(sizes[-1], cache, "firn", "first_s")
        rows.append(ratio_row(
            f"first heartbeat, {sizes[-1]} GiB to {sizes[0]}, {cache}",
            above / below if below else NAN, 1.2))
    return "\n" + markdown(["firn", "", "target", "met"], rows)


def _tell_rows(found):
    f = Figures(found["rows"])
    parts = []
    for size in f.unique("size"):
        for cache in f.unique("cache"):
            if not any(r["size"] == size and r["cache"] == cache
                       for r in f.rows):
                continue
            parts += [f"\n### {size} GiB, {cache} page cache\n",
                      _table(f, size, cache), "", _shows(f, size, cache)]
    parts.append(_growth(f))
    parts += [f"\n{WHAT[p]}: refused: {why}"
              for p, why in found["refused"].items()]
    return "\n".join(parts).strip("\n")


def _tell_faults(found):
    def of(peer, name):
        return [r.get(name, r.get("firn", {}).get(name))
                for r in found["faults"] if r["peer"] == peer]

    names = [("responsive_s", "responsive s"),
             ("touch_faults", "touches that waited"), ("touch_p50_us", "p50 us"),
             ("touch_p99_us", "p99 us"), ("blocktime_ms", "blocktime ms"),
             ("faults", "firn: faults"), ("fault_p50_us", "firn: p50 us"),
             ("fault_p99_us", "firn: p99 us")]
    rows = [[what] + [cell(of(peer, n)) for n, _ in names]
            for peer, what in (("postcopy", "QEMU, postcopy from a live QEMU"),
                               ("firn", "firn, repository in memory"))]
    p50 = median(of("firn", "touch_p50_us")) / median(
        of("postcopy", "touch_p50_us"))
    p99 = median(of("firn", "touch_p99_us")) / median(
        of("postcopy", "touch_p99_us"))
    return "\n".join([
        "### What a touched page costs, 1 GiB\n",
        markdown([""] + [n for _, n in names], rows), "",
        markdown(["firn", "", "target", "met"], [
            ratio_row("p50 as the guest sees it, to postcopy", p50, 2.0)]),
        f"\np99 as the guest sees it, to postcopy: {p99:.2f}"])


def _tell_sockets(found):
    def of(what, name):
        return [r.get(name, r.get("firn", {}).get(name))
                for r in found["sockets"] if r["what"] == what]

    names = [("responsive_s", "responsive s"),
             ("resident_s", "resident s"),
             ("touch_faults", "touches that waited"),
             ("touch_p50_us", "p50 us"), ("touch_p99_us", "p99 us"),
             ("faults", "firn: faults"), ("fault_p50_us", "firn: p50 us"),
             ("fault_p99_us", "firn: p99 us")]
    ways = list(dict.fromkeys(r["what"] for r in found["sockets"]))
    return "\n".join([
        "### Pages touched while others are filled in, 1 GiB\n",
        markdown([""] + [n for _, n in names],
                 [[way] + [cell(of(way, n)) for n, _ in names]
                  for way in sorted(ways)])])


def _tell_big(found):
    def of(size, name):
        return [r.get(name, r.get("firn", {}).get(name))
                for r in found["big"] if r["size"] == size]

    names = [("first_s", "first heartbeat s"),
             ("responsive_s", "responsive s"), ("full_s", "full s"),
             ("resident_s", "resident s"), ("faults", "faults"),
             ("peak_mib", "firn peak MiB")]
    return "\n".join([
        "### 32 GiB, 1 GiB written\n",
        markdown([""] + [n for _, n in names],
                 [[f"{s} GiB"] + [cell(of(s, n)) for n, _ in names]
                  for s in (2, 32)]), "",
        markdown(["firn", "", "target", "met"], [
            ratio_row("first heartbeat, to 2 GiB",
                      median(of(32, "first_s")) / median(of(2, "first_s")),
                      1.5),
            ratio_row("peak memory", median(of(32, "peak_mib")), 256,
                      unit=" MiB")])])


def tell(found, say, write_docs):
    for key, mark, make in (("rows", "restore", _tell_rows),
                            ("faults", "restore-faults", _tell_faults),
                            ("sockets", "restore-sockets", _tell_sockets),
                            ("big", "restore-big", _tell_big)):
        if key in found:
            text = make(found)
            say("\n" + text)
            if write_docs:
                into_document(DOCUMENT, mark, text)
