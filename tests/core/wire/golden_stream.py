#!/usr/bin/env python3
"""golden_stream.py DECODE_STREAM FOLDER: decodes every golden stream and
compares what came out with the facts beside it, which another reader found.
Exit 77 when there is no zstd to unpack them with."""

import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile


def decode(tool, packed, folder):
    stream = os.path.join(folder, "stream")
    subprocess.run(["zstd", "-dqf", packed, "-o", stream], check=True)
    out = subprocess.run([tool, stream, folder], check=True,
                         stdout=subprocess.PIPE)
    return json.loads(out.stdout)


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def devices_of(got):
    """Sections as name, instance, version, length of the body."""
    rows = []
    at = 0
    for d in got["devices"]:
        assert d["offset"] == at, f"section {d['name']} does not adjoin"
        at += d["bytes"]
        head = 1 + 4 + 1 + len(d["name"]) + 4 + 4
        rows.append((d["name"], d["instance"], d["version"],
                     d["bytes"] - head - 5))
    assert at == got["tail_bytes"], "sections do not cover the tail"
    return rows


def differences(got, want, folder):
    pairs = {
        "machine": (got["machine"], want["machine"]),
        "RAM section id": (got["ram_section_id"], want["ram_section_id"]),
        "RAM sections": (got["ram_sections"],
                         sum(want["ram_sections"].values())),
        "data records": (got["pages"] - got["xbzrle_pages"],
                         want["records"]["page"]),
        "zero records": (got["zero_pages"], want["records"]["zero"]),
        "XBZRLE records": (got["xbzrle_pages"], want["records"]["xbzrle"]),
        "stream bytes": (got["stream_bytes"], want["stream_bytes"]),
        "tail bytes": (got["tail_bytes"], want["device_tail_bytes"]),
        "description": (got["vmdesc_bytes"], want["vmdesc_bytes"]),
        "run state": (got["run_state"], want["run_state"]),
        "searched devices": (got["searched"], 0),
        "blocks": ([(b["name"], b["bytes"]) for b in got["blocks"]],
                   [(b["name"], b["bytes"]) for b in want["blocks"]]),
        "devices": (devices_of(got),
                    [(d["name"], d["instance"], d["version"], d["body_bytes"])
                     for d in want["devices"]]),
    }
    for i, b in enumerate(want["blocks"]):
        pairs[f"content of {b['name']}"] = (
            sha256(os.path.join(folder, f"{i}.block")), b["sha256"])
    return [f"{k}: got {a!r}, expected {b!r}"
            for k, (a, b) in pairs.items() if a != b]


def main():
    tool, golden = sys.argv[1:]
    streams = sorted(glob.glob(os.path.join(golden, "*.zst")))
    if not shutil.which("zstd") or not streams:
        print("no zstd, or no golden streams")
        return 77
    bad = 0
    for packed in streams:
        with open(packed[:-4] + ".json", encoding="utf-8") as f:
            want = json.load(f)
        with tempfile.TemporaryDirectory() as folder:
            wrong = differences(decode(tool, packed, folder), want, folder)
        print(f"{want['name']}: {'ok' if not wrong else 'WRONG'}")
        for line in wrong:
            print(f"  {line}")
        bad += bool(wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
