"""Sums what clang's coverage says of wsock.h over many programs, and compares
what is not covered, lines and sides of conditions, with a list in which each
has its reason.

    coverage.py [--branches | --missing] wsock.h list.txt export.json...

The list: a paragraph is a reason (lines that begin with "# ") and, below it,
the places that it is about, one a line:

    FUNCTION: never called
    FUNCTION: FIRST LINE of a block of lines that nothing came to
    FUNCTION: never true: OPERAND
    FUNCTION: never false: OPERAND
    FUNCTION: never asked: OPERAND

A side is what a condition may be, true or false; conditions are the operands
of && and ||, what if, ?: and loops ask, and cases.  Those in blocks that
nothing came to go with their block.  A place stands as often as the function
has it.  "~ " before it: it depends on when things come, so it may be covered.

    --branches   print all sides that are not covered, with their lines
    --missing    print what the list lacks, as it would stand in it, and what
                 is no longer so
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


def sides_of(f, counts, source):
    """[(line, its entry in the list, how many sides that is, whether it is in
    a block that nothing came to)] of those that are not covered."""
    found = []
    for at in sorted(f.true):
        true, false = f.true[at], f.false[at]
        if true and false:
            continue
        what = "true" if false else "false" if true else "asked"
        found.append((at[0], "%s: never %s: %s" % (
            f.name, what, text_of(source, at)),
            1 if true or false else 2, counts.get(at[0]) == 0))
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
    if counts and max(f.regions.values()) == 0:
        return [(min(counts), f.name + ": never called")]
    found, before = [], True
    for line in sorted(counts):
        if counts[line] == 0 and before:
            found.append((line, f.name + ": " + source[line - 1].strip()))
        before = counts[line] != 0
    return found


def read_list(path):
    """Counts of the entries; those that may be covered; faults."""
    wanted, loose, faults = collections.Counter(), set(), []
    reason = False
    for number, line in enumerate(open(path), 1):
        line = line.rstrip("\n")
        if line.startswith("#"):
            reason = True
        elif not line.strip():
            reason = False
        else:
            if not reason:
                faults.append("line %d has no reason above it" % number)
            name = re.sub(r"^~ ", "", line)
            wanted[name] += 1
            if name != line:
                loose.add(name)
    return wanted, loose, faults


def percent(a, b):
    return "%d of %d, %.2f %%" % (a, b, 100.0 * a / b if b else 100)


def main(arguments):
    flags = [a for a in arguments if a.startswith("--")]
    header, listed, *exports = [a for a in arguments if a not in flags]
    source = open(header).read().splitlines()
    functions = read(exports)
    wanted, loose, faults = read_list(listed)
    found = collections.Counter()
    where = collections.defaultdict(list)
    lines = bare = sides = missed = gone = 0
    for start in sorted(functions):
        f = functions[start]
        counts = counts_of(f, source)
        lines += len(counts)
        bare += sum(1 for n in counts.values() if n == 0)
        sides += 2 * len(f.true)
        places = places_of(f, counts, source)
        for line, place, n, in_block in sides_of(f, counts, source):
            missed += n
            gone += n if in_block else 0
            if not in_block:
                places.append((line, place))
            if "--branches" in flags:
                print("wsock.h:%d: %s%s" % (
                    line, place, " (so is its line)" if in_block else ""))
        for line, place in sorted(places):
            found[place] += 1
            where[place].append(str(line))
    lacks = [p for p in found if found[p] > wanted[p]]
    stale = [p for p in wanted if wanted[p] > found[p] and p not in loose]
    if "--missing" in flags:
        for place in lacks:
            for _ in range(found[place] - wanted[place]):
                print(place)
        for place in stale:
            print("# no longer so: " + place)
    for place in lacks:
        faults.append("not covered, not in the list: wsock.h:%s: %s" % (
            ",".join(where[place]), place))
    for place in stale:
        faults.append("in the list, but covered or gone: " + place)
    print("lines: " + percent(lines - bare, lines))
    print("sides of conditions: " + percent(sides - missed, sides))
    print("explained: %d places; %d sides stand in blocks that nothing "
          "came to" % (sum(wanted.values()), gone))
    for fault in faults:
        print(fault)
    print("%d passed, %d failed" % (not faults, len(faults)))
    return 1 if faults else 0


sys.exit(main(sys.argv[1:]))
