"""Figures kept in a file: measured and written, or read again."""
import json


def add_options(parser):
    parser.add_argument("--json", help="keep the figures in this file")
    parser.add_argument("--from", dest="source",
                        help="figures of an earlier run")
    parser.add_argument("--write-docs", action="store_true",
                        help="put the tables into docs/benchmarks.md")


def keep(args, figures):
    """Writes them to args.json, if that is named."""
    if args.json:
        with open(args.json, "w") as f:
            json.dump(figures, f)


def found(args, measure):
    """Those of args.source, else what measure() returns, kept."""
    if args.source:
        with open(args.source) as f:
            return json.load(f)
    figures = measure()
    keep(args, figures)
    return figures
