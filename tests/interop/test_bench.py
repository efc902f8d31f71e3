#!/usr/bin/env python3
"""The programs of bench/ run, with a small guest and one run each: their
figures are there, and the guest that was saved again and again is right."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../lab"))
import lab  # noqa: E402


def bench(program, *options):
    """Runs it; returns its figures and what it printed."""
    lab.qemu("10.0")
    figures = os.path.join(lab.tmpdir(), "figures.json")
    done = subprocess.run(
        [f"{lab.ROOT}/bench/{program}", "--runs", "1", "--disk",
         os.path.dirname(figures), "--json", figures, *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=300)
    assert done.returncode == 0, done.stdout
    with open(figures) as f:
        return json.load(f), done.stdout


def test_captures_beside_qemu():
    found, text = bench("capture/bench_capture.py", "--sizes", "0.5",
                        "--dest", "tmpfs", "--pause", "0",
                        "--peers", "firn,firn-second,zstd,savevm")
    rows = {r["peer"]: r for r in found["rows"]}
    assert set(rows) == {"firn", "firn-second", "zstd", "savevm"}, rows
    assert found["refused"] == {}
    for row in rows.values():
        assert row["wall_s"] > 0 and row["downtime_ms"] >= 9, row
    # The guest stands still for as long as savevm takes, and only then.
    savevm = rows["savevm"]
    assert savevm["downtime_ms"] > 800 * savevm["wall_s"], savevm
    assert rows["firn"]["stored_mb"] > 4 * rows["firn-second"]["stored_mb"]
    assert rows["firn-second"]["floor_mb"] > 0
    assert rows["firn"]["peak_mib"] < 256
    assert "'bad': 0" in text, text
    assert "| wall, to zstd -1 |" in text, text


def test_restores_beside_qemu():
    found, text = bench("restore/bench_restore.py", "--sizes", "0.5",
                        "--cache", "warm", "--peers",
                        "firn,firn-hints,file,private")
    rows = {r["peer"]: r for r in found["rows"]}
    assert set(rows) == {"firn", "firn-hints", "file", "private"}, rows
    for row in rows.values():
        assert 0 < row["first_s"] < row["responsive_s"] < row["full_s"], row
    # Of all only firn makes the guest wait for pages.
    assert rows["firn"]["firn"]["faults"] > 0
    assert rows["firn-hints"]["firn"]["prefetched_pages"] > 0
    assert rows["firn"]["resident_s"] <= rows["firn"]["full_s"]
    assert "| full, to QEMU's plain restore |" in text, text


if __name__ == "__main__":
    lab.main(globals())
