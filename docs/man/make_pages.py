#!/usr/bin/env python3
"""A manual page for each command, cut out of firn.1.

    make_pages.py ROOT FOLDER COMMAND...

firn.1 says everything about a command once; its section `.Ss firn NAME` becomes
the page firn-NAME(1), named by the summary in cli/cmd_NAME.c or
cli/NAME/cmd_NAME.c.
"""
import os
import re
import sys

PAGE = """\
.\\" Made of firn.1 by make_pages.py.
.Dd November 21, 2026
.Dt FIRN-{upper} 1
.Os
.Sh NAME
.Nm firn-{name}
.Nd {summary}
.Sh SYNOPSIS
.Nm firn
.Op Fl -repo Ar REPO
.Cm {name}
{words}.Op Ar options
.Sh DESCRIPTION
{body}.Pp
Options of every command, values, files and variables are in
.Xr firn 1 .
.Sh EXIT STATUS
That of
.Xr firn 1 :
0 when done as asked, 2 for a wrong command line, another number by what went
wrong.
{examples}.Sh SEE ALSO
.Xr firn 1 ,
.Xr firn-config 5 ,
.Xr firn-format 5 ,
.Xr firn-recovery 7 ,
.Xr firn-security 7
"""


def summary(root, name):
    """What `.summary` of the command says, its string literals joined."""
    path = f"{root}/cli/{name}/cmd_{name}.c"
    if not os.path.exists(path):
        path = f"{root}/cli/cmd_{name}.c"
    with open(path, encoding="utf-8") as f:
        text = re.search(r'\.summary =\s*((?:"(?:[^"\\]|\\.)*"\s*)+)',
                         f.read()).group(1)
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', text))


def sections(manual):
    """{command: (words behind its name, body)} in the order of firn.1."""
    found = {}
    for head, body in re.findall(
            r"(?ms)^\.Ss firn (.*?)\n(.*?)(?=^\.S[sh] )", manual):
        name, _, words = head.partition(" ")
        found[name] = words, body
    return found


def page(root, name, words, body):
    examples = f"{root}/docs/man/examples-{name}.mdoc"
    text = ""
    if os.path.exists(examples):
        with open(examples, encoding="utf-8") as f:
            text = f.read()
    return PAGE.format(
        name=name, upper=name.upper(), summary=summary(root, name),
        words=f".{words}\n" if words else "", body=body, examples=text)


def main(root, folder, *commands):
    with open(f"{root}/docs/firn.1", encoding="utf-8") as f:
        found = sections(f.read())
    os.makedirs(folder, exist_ok=True)
    for name in commands:
        words, body = found[name]
        with open(f"{folder}/firn-{name}.1", "w", encoding="utf-8") as f:
            f.write(page(root, name, words, body))


main(*sys.argv[1:])
