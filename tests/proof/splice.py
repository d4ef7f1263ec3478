"""Puts contracts before the functions of wsock.h.

    splice.py wsock.h contracts.acsl... >out.c

A line `== NAME` in a contract file takes the definition of NAME (a function,
a struct, a constant of an enum, a table) from wsock.h; what follows up to the
next such line stands before it.  `-- TEXT` inside stands for the line of the
function that contains TEXT: what follows goes before that line.  `==` alone
brings no definition, only its text.  A NAME or TEXT that is not in wsock.h,
or not only once, is an error, so that no contract outlives its function.
"""
import re
import sys


def definitions(source):
    """The top-level definitions: lists of lines."""
    found, now, depth = [], [], 0
    comment = False
    for line in source:
        if not now and (not re.match(r"[A-Za-z]", line) or comment):
            comment = (comment or "/*" in line) and "*/" not in line
            continue
        now.append(line)
        depth += line.count("{") - line.count("}")
        code = re.sub(r"/\*.*?(\*/|$)", "", line).rstrip()
        if depth == 0 and (line.startswith("}") or code.endswith(";")):
            found.append(now)
            now = []
    return found


def defines(lines, name):
    text = "\n".join(lines)
    word = re.escape(name)
    if re.match(r"enum \{", text):
        return re.search(r"\b%s\b *(=|,|/|\n)" % word, text)
    if text.startswith("typedef"):
        return re.search(r"\} %s;$" % word, text)
    if "\n{" in text:
        return re.match(r"[^{]*\b%s\(" % word, text)
    return re.match(r"static const \w+ %s\[" % word, text)


def one(found, what):
    if len(found) != 1:
        sys.exit("splice.py: %s: %d times in wsock.h" % (what, len(found)))
    return found[0]


def spliced(lines, name, parts):
    """`parts`: pairs of a text of the function and what goes before it."""
    lines = list(lines)
    for text, notes in parts:
        at = one([i for i, s in enumerate(lines) if text in s],
                 name + ": " + text)
        lines[at:at] = notes
    return lines


def contracts(path):
    """[name, what stands before it, parts] for each."""
    items = []
    for line in open(path).read().splitlines():
        if line.startswith("=="):
            items.append([line[2:].strip(), [], []])
        elif line.startswith("-- "):
            items[-1][2].append((line[3:].strip(), []))
        elif items and items[-1][2]:
            items[-1][2][-1][1].append(line)
        elif items:
            items[-1][1].append(line)
    return items


def main():
    source = open(sys.argv[1]).read()
    source = source[source.index(">>implementation"):].splitlines()
    known = definitions(source)
    for path in sys.argv[2:]:
        for name, before, parts in contracts(path):
            print("\n".join(before))
            if name:
                it = one([d for d in known if defines(d, name)], name)
                print("\n".join(spliced(it, name, parts)))


main()
