"""Sums what clang's coverage says of wsock.h over many programs, and compares
the lines that are not covered with a list in which each has its reason.

    coverage.py [--branches] wsock.h list.txt export.json...

The list: a paragraph is a reason (lines that begin with "# ") and, below it,
the places that it is about, one a line:

    FUNCTION: never called
    FUNCTION: FIRST LINE of a block of lines that nothing came to

A place stands as often as the function has it.  "~ " before it: it depends
on when things come, so it may be covered.  One line `branches: N` is the
most sides of conditions that may be without cover: operands of && and ||,
and cases, that were evaluated or not, but never true, or never false.
--branches prints them all.
"""
import collections
import json
import re
import sys

SKIPPED = 2 # a kind of region: left out by the preprocessor


class Function:
    def __init__(self):
        self.name = ""
        self.regions = collections.Counter()
        self.true = collections.Counter()
        self.false = collections.Counter()


def read(paths):
    """The functions of wsock.h, by where they begin.  What stands in a macro
    (file other than 0) is left out: its uses count."""
    functions = collections.defaultdict(Function)
    for path in paths:
        with open(path) as f:
            export = json.load(f)
        for it in export["data"][0]["functions"]:
            if not it["filenames"][0].endswith("wsock.h"):
                continue
            own = [r for r in it["regions"] if r[5] == 0]
            f = functions[min(r[0] for r in own)]
            f.name = it["name"].split(":")[-1]
            for r in own:
                f.regions[tuple(r[:4]) + (r[7],)] += r[4]
            for b in it["branches"]:
                if b[6] == 0:
                    f.true[tuple(b[:4])] += b[4]
                    f.false[tuple(b[:4])] += b[5]
    return functions


def text_of(source, at):
    l1, c1, l2, c2 = at
    lines = source[l1 - 1:l2]
    lines[-1] = lines[-1][:c2 - 1]
    lines[0] = lines[0][c1 - 1:]
    text = re.sub(r"/\*.*?\*/", "", " ".join(lines))
    return re.sub(r"\s+", " ", text).strip()


def branches_of(f, source):
    """[(line, what is not covered)]"""
    found = []
    for at in sorted(f.true):
        for side, name in ((f.true, "true"), (f.false, "false")):
            if side[at] == 0:
                found.append((at[0], "%s: never %s: %s" % (
                    f.name, name, text_of(source, at))))
    return found


def counts_of(f, source):
    """How often each line of code was come to."""
    seen = {}
    for at in sorted(f.regions, key=lambda r: (r[0], r[1], -r[2], -r[3])):
        l1, c1, l2, c2, kind = at
        for line in range(l1, l2 + 1):
            row = source[line - 1]
            first = c1 - 1 if line == l1 else 0
            last = c2 - 1 if line == l2 else len(row)
            for column in range(first, min(last, len(row))):
                if row[column] not in " {}":
                    seen[line, column] = (
                        None if kind == SKIPPED else f.regions[at])
    counts = {}
    for (line, column), count in seen.items():
        row = source[line - 1].strip()
        if count is not None and not row.startswith(("/*", "* ", "#")):
            counts[line] = max(count, counts.get(line, 0))
    return counts


def places_of(f, counts, source):
    """[(line, its entry in the list)] of the blocks that are not covered."""
    if max(f.regions.values()) == 0:
        return [(min(counts), f.name + ": never called")]
    found, before = [], True
    for line in sorted(counts):
        if counts[line] == 0 and before:
            found.append((line, f.name + ": " + source[line - 1].strip()))
        before = counts[line] != 0
    return found


def read_list(path):
    """Counts of the entries; those that may be covered; branches; faults."""
    wanted, loose, faults = collections.Counter(), set(), []
    most = 0
    reason, above = False, "#"
    for number, line in enumerate(open(path), 1):
        line = line.rstrip("\n")
        if line.startswith("#"):
            reason = True
        elif not line.strip():
            reason = False
        elif line.startswith("branches: "):
            most = int(line.split()[1])
        else:
            if not reason:
                faults.append("line %d has no reason above it" % number)
            name = re.sub(r"^~ ", "", line)
            wanted[name] += 1
            if name != line:
                loose.add(name)
    return wanted, loose, most, faults


def percent(a, b):
    return "%d of %d, %.2f %%" % (a, b, 100.0 * a / b if b else 100)


def main(arguments):
    show = "--branches" in arguments
    paths = [a for a in arguments if a != "--branches"]
    source = open(paths[0]).read().splitlines()
    functions = read(paths[2:])
    wanted, loose, most, faults = read_list(paths[1])
    found = collections.Counter()
    where = collections.defaultdict(list)
    lines = bare = sides = 0
    missed = []
    for start in sorted(functions):
        f = functions[start]
        counts = counts_of(f, source)
        lines += len(counts)
        bare += sum(1 for n in counts.values() if n == 0)
        sides += 2 * len(f.true)
        missed += branches_of(f, source)
        for line, place in places_of(f, counts, source):
            found[place] += 1
            where[place].append(str(line))
    for place in found:
        if found[place] > wanted[place]:
            faults.append("not covered, not in the list: wsock.h:%s: %s" % (
                ",".join(where[place]), place))
    for place in wanted:
        if wanted[place] > found[place] and place not in loose:
            faults.append("in the list, but covered or gone: " + place)
    if len(missed) > most:
        faults.append("%d sides of conditions are not covered, the list "
                      "says %d at most: see --branches" % (len(missed), most))
    if show:
        for line, text in missed:
            print("wsock.h:%d: %s" % (line, text))
    print("lines: " + percent(lines - bare, lines))
    print("branches: " + percent(sides - len(missed), sides))
    print("explained: %d blocks of lines" % sum(wanted.values()))
    for fault in faults:
        print(fault)
    print("%d passed, %d failed" % (not faults, len(faults)))
    return 1 if faults else 0


sys.exit(main(sys.argv[1:]))
