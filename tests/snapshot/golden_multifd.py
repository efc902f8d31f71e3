#!/usr/bin/env python3
"""golden_multifd.py RECEIVE_MULTIFD FOLDER: plays every golden multifd capture
to firn's receivers and compares what they made of it with the facts beside it,
which another reader found. Exit 77 when there is no zstd to unpack them."""

import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile


def receive(tool, packed, method, folder):
    capture = os.path.join(folder, "capture")
    subprocess.run(["zstd", "-dqf", packed, "-o", capture], check=True)
    out = subprocess.run([tool, capture, method, folder], check=True,
                         stdout=subprocess.PIPE, timeout=100)
    return json.loads(out.stdout)


def differences(got, want, folder):
    for i, block in enumerate(got["blocks"]):
        with open(os.path.join(folder, f"{i}.block"), "rb") as f:
            block["sha256"] = hashlib.sha256(f.read()).hexdigest()
    want = {**want, "received": sum(want["bytes"]), "broken": ""}
    return [f"{key}: got {got[key]!r}, expected {want[key]!r}"
            for key in got if got[key] != want[key]]


def main():
    tool, golden = sys.argv[1:]
    captures = sorted(glob.glob(os.path.join(golden, "*.zst")))
    if not shutil.which("zstd") or not captures:
        print("no zstd, or no golden captures")
        return 77
    bad = 0
    for packed in captures:
        with open(packed[:-4] + ".json", encoding="utf-8") as f:
            want = json.load(f)
        with tempfile.TemporaryDirectory() as folder:
            wrong = differences(receive(tool, packed, want["method"], folder),
                                want, folder)
        print(f"{want['name']}: {'ok' if not wrong else 'WRONG'}")
        for line in wrong:
            print(f"  {line}")
        bad += bool(wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
