#!/usr/bin/env python3
"""Write wsock_tls.h: wsock.h and BearSSL in one file, so that wss:// works.

    python3 amalgamate.py --bearssl DIR [-o wsock_tls.h]

DIR is a folder of BearSSL's source (0.6 or newer) as its author or a
distribution publishes it; `apt-get source bearssl` makes one, where apt knows
sources.  Python 3.6 or newer is all that is needed.  The result is used
exactly like wsock.h.  In one C file of the program:

    #define WSOCK_IMPLEMENTATION
    #include "wsock_tls.h"

and in all others, C or C++, it is just included.  wss:// URLs then work: there
is nothing to install, and nothing to link but what wsock.h itself asks for (on
Windows -lws2_32 -lbcrypt -lcrypt32).  BearSSL is C: compiled as C++ the
implementation stops with an #error that says so.

what is taken:
  Those files of BearSSL that wsock.h needs: the ones that define the names
  that it uses, then those that define the names that these use, and so on.

what is changed:
  Nothing of wsock.h: BearSSL stands where it has #include <bearssl.h>.  Of
  BearSSL, what a single translation unit asks for:
  - a name that is private to a file gets the file's name: `add` of x.c is
    br_x__add;
  - a file's macros end with the file, those of inner.h with BearSSL;
  - what files share is static, so that no br_ symbol leaves the object, two
    versions of BearSSL can live in one program, and unused code falls away
    (--extern: it is not);
  - comments are left out (--comments: they are not);
  - some switches are set, whose reasons stand in SWITCHES below: BearSSL has
    no source of randomness and time of its own, but for what wsock.h tells.
  This script knows no file and no version of BearSSL: it reads the code.

what is refused:
  A folder that is not BearSSL, or a fork with macros, headers or names of its
  own: it may be meant for another kind of machine, and nothing here would
  show what became of it.  Every error is one line that says what was found,
  where, and how to mend it; the status is 1, and the output is left as it was.

repeatable:
  The same input gives the same bytes.  The output's head has a hash of the
  source, which is also what these two lines print:

    cd DIR && find inc src -name '*.[ch]' | LC_ALL=C sort |
        xargs sha256sum | sha256sum

proof:
  --check proves an output that is there, with gcc, clang and nm: it is what
  DIR gives; the symbols of its files, fused, are those of the same files
  compiled one by one; and BearSSL's own test_crypto and test_x509 pass with
  the fused code at -O0, -O1, -O2, -O3 and -Os of both compilers.  These tests
  need more of BearSSL than wsock.h does, so they are built with a second
  fusion that has more files; that it has every file of the output, byte for
  byte, is checked first.  Static code cannot be linked, so there the test is
  part of the same translation unit.  All of it takes many minutes; --quick
  takes less than one: without the slowest tests, and with gcc -O2 and -O3
  and clang -O2.
"""

import argparse
import contextlib
import functools
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Optional

# Set before BearSSL, whatever the machine is.
SWITCHES = {
    # BearSSL stores words through a union of one width and reads them through
    # another.  In one translation unit the compiler sees both sides: gcc 12
    # at -O2 then computes a wrong MD5, without a warning.
    'BR_LE_UNALIGNED': '0',
    'BR_BE_UNALIGNED': '0',
    # wsock.h seeds the generator and tells the time, as options.system says.
    # BearSSL's own sources of both would be a second opinion, and ask for
    # system headers that not every -std has; its 0.6 believes rdrand even
    # where that yields all ones.
    'BR_RDRAND': '0',
    'BR_USE_GETENTROPY': '0',
    'BR_USE_URANDOM': '0',
    'BR_USE_WIN32_RAND': '0',
    'BR_USE_UNIX_TIME': '0',
    'BR_USE_WIN32_TIME': '0',
}
NEWER = 'BR_USE_GETENTROPY',  # of these, what 0.6 has not


class Refused(Exception):
    """Cannot be done; the text says why, and how to mend it."""


UNMATCHED = 'braces, or #if and #endif, do not match: the file is damaged'
FORK = '.  Is this a fork?  Take the source as its author publishes it'


# ------------------------------------------------------------------- lexer --

class Token(NamedTuple):
    """A piece of C.  The tokens of a file, joined, are the file."""
    kind: str  # blank, comment, directive, string, number, word or mark
    text: str


LEXEMES = re.compile(r'''
    (?P<blank> [ \t\f\v]+ | \\\n | \n)
  | (?P<comment> /\*.*?(?:\*/|\Z) | //[^\n]*)
  | (?P<string> "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
  | (?P<number> \.?[0-9](?:[eEpP][+-]|[.\w])*)
  | (?P<word> [A-Za-z_]\w*)
  | (?P<mark> \.\.\. | -> | \#\# | [][(){}.,;:?=+*/%&|^!~<>\#-])
  | (?P<wrong> .)
''', re.VERBOSE | re.DOTALL | re.ASCII)

SPACE = 'blank', 'comment'


def lex(text):
    """Split text into tokens, of which a preprocessor line is many."""
    for match in LEXEMES.finditer(text):
        token = Token(match.lastgroup, match.group())
        wrong = token.kind in ('wrong', 'comment') and fault(token)
        if wrong:
            line = text.count('\n', 0, match.start()) + 1
            raise Refused(f'line {line}: {wrong}: the file is damaged')
        yield token


def fault(token):
    """Why it is in no file that is whole; empty: it can be.  A comment that
    has lost its end goes on to that of the next, over the code between."""
    inner = token.text[2:]
    if token.kind == 'wrong':
        return f'{ascii(token.text)} is not C'
    if token.text.startswith('/*') and (
            '/*' in inner or not inner.endswith('*/')):
        return 'a comment does not end'
    return ''


def tokenize(text):
    """Split a file into tokens; a preprocessor line, however long, is one."""
    tokens, line, fresh = [], None, True
    if not text.endswith('\n'):
        text += '\n'  # a preprocessor line ends with it
    for token in lex(text):
        if token.text == '\n':
            if line is not None:
                tokens.append(Token('directive', line))
            line, fresh = None, True
        elif fresh and token.text == '#':
            line = ''
        if line is None:
            tokens.append(token)
        else:
            line += token.text
        fresh = fresh and token.kind in SPACE
    return tokens


@functools.lru_cache(maxsize=None)
def parts(token):
    """What a preprocessor line has behind its #, as texts; of any other token
    one empty text."""
    if token.kind != 'directive':
        return ('',)
    return tuple(t.text for t in lex(token.text) if t.kind not in SPACE)[1:] \
        or ('',)


def words(tokens):
    """All identifiers in these tokens, also those of preprocessor lines."""
    texts = set()
    for token in tokens:
        texts.update(parts(token)[1:])
        texts.add(token.text)
    return {text for text in texts if text.isidentifier()}


def depths(tokens):
    """By how much each token goes into an #if, or out of it."""
    steps = {'if': 1, 'ifdef': 1, 'ifndef': 1, 'endif': -1}
    return (steps.get(parts(token)[0], 0) for token in tokens)


def group(tokens, start):
    """The index behind the #endif of the #if at `start`."""
    depth = 0
    for i, step in enumerate(depths(tokens[start:]), start):
        depth += step
        if depth == 0:
            return i + 1
    raise Refused(UNMATCHED)


def without_cplusplus(tokens):
    """Leave out what is only for C++: extern "C"."""
    kept, i = [], 0
    while i < len(tokens):
        if parts(tokens[i]) == ('ifdef', '__cplusplus'):
            i = group(tokens, i)
        else:
            kept.append(tokens[i])
            i += 1
    return kept


def includes(tokens):
    """What is included, each with its quotes or brackets."""
    names = [''.join(parts(token)[1:]) for token in tokens
             if parts(token)[0] == 'include']
    for name in names:
        if name[:1] not in ('"', '<'):
            raise Refused(f'"#include {name}" names no file{FORK}')
    return names


# ------------------------------------------------------------ declarations --

class Macro(NamedTuple):
    parameters: Optional[list]  # None: it has none
    body: list                  # texts

    def is_function(self):
        """Whether, invoked, it is a whole function, or several."""
        return self.parameters is not None and '{' in self.body

    def is_marker(self):
        """Whether it stands alone, without a semicolon."""
        return self.parameters is None and self.body[:1] in ([], ['_Pragma'])


class Declaration(NamedTuple):
    """What is declared at file scope."""
    kind: str  # definition (of a function or an object), declaration or type
    name: str
    start: int              # the indices of the first token,
    end: int                # of the last,
    bracket: Optional[int]  # and of the [ behind the name
    private: bool           # static
    condition: str = ''     # of the #if around it
    pasted: str = ''        # the word that ## makes the name of


# All that may stand before a name, but for types that a typedef makes.
TYPES = set('''auto char const double enum extern float inline int long
    register short signed static struct typedef union unsigned void volatile
    size_t ssize_t int8_t uint8_t int16_t uint16_t int32_t uint32_t int64_t
    uint64_t * }'''.split())
TAGGED = 'struct', 'union', 'enum'


def macros_of(tokens):
    """The macros that are defined.  Of several definitions of one, that with
    the longest body stands for all."""
    found = {}
    for token in tokens:
        if parts(token)[0] != 'define':
            continue
        name, *body = parts(token)[1:]
        parameters = None
        if re.match(rf'#\s*define\s+{re.escape(name)}\(', token.text):
            end = body.index(')')
            parameters, body = body[1:end:2], body[end + 1:]
        if name not in found or len(body) > len(found[name].body):
            found[name] = Macro(parameters, body)
    return found


def declarations(tokens, macros, types):
    """All declarations at file scope.

    Both sides of an #if are read: each begins with the state that was at the
    #if, so that a brace which stands in both counts once.
    """
    found, types = [], set(types)
    head, depth = [], 0  # the declaration's (index, text) outside of braces
    states = []          # of each open #if: head, depth, conditions
    for i, token in enumerate(tokens):
        name = parts(token)[0]
        if name in ('else', 'elif', 'endif') and not states:
            raise Refused(UNMATCHED)
        if name in ('if', 'ifdef', 'ifndef'):
            states.append((list(head), depth, [condition(token)]))
        elif name in ('else', 'elif'):
            head, depth = list(states[-1][0]), states[-1][1]
            states[-1][2].append(condition(token))
        elif name == 'endif':
            states.pop()
        if token.kind in SPACE or token.kind == 'directive':
            continue
        depth -= token.text == '}'
        if depth < 0:
            raise Refused(UNMATCHED)
        if depth == 0:
            head.append((i, token.text))
        depth += token.text == '{'
        if depth:
            continue
        if len(head) == 1 and token.text in macros and \
                macros[token.text].is_marker():
            head = []
        elif is_complete([text for _, text in head], macros):
            where = conjunction([sides for _, _, sides in states])
            for one in declaration(head, macros, types):
                found.append(one._replace(condition=where))
                if one.kind == 'type':
                    types.add(one.name)
            head = []
    if head or depth or states:
        raise Refused(UNMATCHED)
    return found


def condition(token):
    """The condition of an #if, as its text; of an #else none."""
    name = parts(token)[0]
    text = ''.join(' ' if t.kind in SPACE else t.text for t in lex(token.text))
    text = ' '.join(text.split(name, 1)[1].split())
    return {'ifdef': f'defined {text}', 'ifndef': f'!defined {text}'}.get(
        name, text)


def conjunction(states):
    """The condition under which every open #if is at its present side."""
    return ' && '.join(
        f'!({text})' if i < len(sides) - 1 else f'({text})'
        for sides in states for i, text in enumerate(sides) if text)


def is_complete(texts, macros):
    """Whether these texts outside of braces are a whole declaration."""
    if texts.count('(') != texts.count(')'):
        return False
    return texts[-1] == ';' or texts[-3:] == [')', '{', '}'] or (
        texts[-1] == ')' and texts[0] in macros
        and macros[texts[0]].is_function())


def declaration(head, macros, types):
    """What a declaration declares: one name, or none if it is a struct or
    the like; what a macro makes may be several."""
    texts = [text for _, text in head]
    if texts == [';']:
        return []
    if texts[0] in macros and macros[texts[0]].is_function():
        return [one._replace(start=head[0][0], end=head[-1][0])
                for one in expanded(texts, macros, types)]
    defined = '=' in texts or texts[-1] == '}'
    kept = without_attributes(head, macros)
    # What is left: specifiers, with a } if they have a body; the name; its
    # brackets or parameters.
    texts = [text for _, text in kept]
    at = name_of(texts)
    if texts[at] == '}' or texts[at - 1] in TAGGED:
        return []
    for before, text in zip([''] + texts, outside_brackets(texts)):
        if not (text in TYPES or text in types or before in TAGGED
                or text in ('', texts[at]) or text.startswith('__')):
            raise Refused(f'in "{" ".join(texts)}", {text} is neither C\'s '
                          f'nor BearSSL\'s own{FORK}')
    kind = 'type' if 'typedef' in texts else \
        'definition' if defined else 'declaration'
    bracket = kept[at + 1][0] if texts[at + 1:at + 2] == ['['] else None
    return [Declaration(kind, texts[at], head[0][0], head[-1][0], bracket,
                        'static' in texts[:at])]


def expanded(texts, macros, types):
    """What a macro declares that, invoked as in these texts, is functions."""
    macro = macros[texts[0]]
    arguments = ' '.join(texts[2:-1]).split(',')
    values = dict(zip(macro.parameters, (a.strip() for a in arguments)))
    made, pasted, body = [], {}, list(macro.body)
    while body:
        first = body.pop(0)
        text = values.get(first, first)
        while body[:1] == ['##']:
            text += values.get(body[1], body[1])
            pasted[text] = first
            del body[:2]
        made.append(text)
    return [one._replace(pasted=pasted.get(one.name, ''))
            for one in declarations(list(lex(' '.join(made))), macros, types)]


def without_attributes(head, macros):
    """Leave out invocations of macros, braces, and an initializer."""
    texts, kept, i = [text for _, text in head], [], 0
    while i < len(head) and texts[i] != '=':
        macro = macros.get(texts[i])
        if macro and macro.parameters is not None and texts[i + 1] == '(':
            depth = 1
            i += 1
            while depth:
                i += 1
                depth += (texts[i] == '(') - (texts[i] == ')')
        elif texts[i] not in '{;':
            kept.append(head[i])
        i += 1
    return kept


def outside_brackets(texts):
    """The same texts, but empty where a bracket is, or is open."""
    depth = 0
    for text in texts:
        yield '' if depth or text in '([)]' else text
        depth += (text in '([') - (text in ')]')


def name_of(texts):
    """Where the declared name stands: before its parameters or brackets, or
    in (*name); else it is the last."""
    for i, text in enumerate(texts):
        if text == '(' and texts[i + 1] == '*':
            return i + 2
        if text in '([':
            return i - 1
    return len(texts) - 1


# ------------------------------------------------------------- the sources --

def shown(name):
    """A file's name as text that can be written, whatever its bytes are."""
    return os.fsencode(name).decode('utf-8', 'backslashreplace')


def read(path):
    """A file's text."""
    try:
        return path.read_bytes().decode('utf-8-sig').replace('\r\n', '\n')
    except OSError as error:
        raise Refused(f'{path}: {error.strerror}') from None
    except UnicodeDecodeError:
        raise Refused(f'{path}: it is not text: the file is damaged') from None


@contextlib.contextmanager
def reading(path):
    """Give errors the file's name.  What is not C can lack a token anywhere:
    to look for each would be most of this script."""
    try:
        yield
    except Refused as error:
        raise Refused(f'{path}: {error}') from None
    except (IndexError, ValueError):
        raise Refused(f'{path}: a declaration or a preprocessor line is not '
                      'complete: the file is damaged') from None


# What every C compiler has.
C_HEADERS = '''assert.h errno.h limits.h stddef.h stdint.h stdio.h stdlib.h
    string.h time.h'''.split()


class Source:
    """A file of BearSSL."""

    def __init__(self, root, name):
        self.path, self.name = root / name, name
        text = read(self.path)
        with reading(self.path):
            self.tokens = without_cplusplus(tokenize(text))
            self.includes = includes(self.tokens)
            self.macros = macros_of(self.tokens)
        self.words = words(self.tokens)
        # Where it includes inner.h, behind its switches for that.
        self.inner = next((i for i, token in enumerate(self.tokens)
                           if parts(token) == ('include', '"inner.h"')), None)

    def understand(self, macros, types):
        """Find what it declares; `macros` and `types` are the headers'."""
        with reading(self.path):
            self.declarations = declarations(
                self.tokens, {**macros, **self.macros}, types)
        self.shared = [one for one in self.declarations
                       if one.kind == 'definition' and not one.private]
        own = [one for one in self.declarations
               if one.private or one.kind == 'type']
        self.own = {one.name for one in own} | {
            one.pasted for one in own if one.pasted}

    def included(self, quote):
        """The files that it includes by this first character: " or <."""
        return [name[1:-1] for name in self.includes if name[0] == quote]

    def everywhere(self):
        """The system's headers that it includes on every machine: outside of
        each #if, but for the one that a header has around itself."""
        depth, names = -self.name.endswith('.h'), []
        for token, step in zip(self.tokens, depths(self.tokens)):
            depth += step
            names += includes([token]) if depth == 0 else ()
        return [name[1:-1] for name in names if name[0] == '<']

    def refuse(self, what):
        raise Refused(f'{self.path}: {what}{FORK}')


class Library:
    """BearSSL: its headers in the order in which they are needed, its files,
    and what is defined where."""

    def __init__(self, root):
        self.root = root
        for name in 'inc/bearssl.h', 'src/inner.h', 'LICENSE.txt':
            if not (root / name).is_file():
                raise Refused(
                    f'{root} is not the source of BearSSL: it has no {name}.  '
                    'Give the folder that holds inc and src, such as '
                    '"apt-get source bearssl" makes')
        self.headers, self.macros, self.types = [], {}, set()
        self.add_header('src/inner.h', set())
        self.inner = self.headers[-1]
        self.public = [h for h in self.headers if h.name.startswith('inc/')]
        self.inspect_headers()
        self.files = [Source(root, path.relative_to(root).as_posix())
                      for path in sorted(root.glob('src/**/*.c'))]
        for source in self.files:
            source.understand(self.macros, self.types)
        self.home = {}      # of a shared name: the file that defines it
        self.inspect_files()
        self.promised = {}  # of a shared name: the header that declares it
        self.meaning = {}   # of a header's macro or function: its words
        for header in self.headers:
            for name, macro in header.macros.items():
                self.meaning[name] = macro.body
            for one in header.declarations:
                if one.kind == 'definition':
                    self.meaning[one.name] = words(
                        header.tokens[one.start:one.end + 1])
                elif one.kind == 'declaration':
                    self.promised[one.name] = header
        self.find_switches()

    def add_header(self, name, begun):
        """Add a header behind those that it includes itself."""
        if name in begun:
            return
        begun.add(name)
        header = Source(self.root, name)
        for other in header.included('"'):
            found = [f'{folder}/{other}' for folder in ('src', 'inc')
                     if (self.root / folder / other).is_file()]
            if not found:
                raise Refused(f'{header.path}: it includes {other}, which is '
                              'not there: is the folder complete?')
            self.add_header(found[0], begun)
        header.understand(self.macros, self.types)
        self.headers.append(header)
        self.macros.update(header.macros)
        self.types |= {one.name for one in header.declarations
                       if one.kind == 'type'}

    def inspect_headers(self):
        """Refuse headers that are not the author's."""
        for header in self.public:
            for name in header.macros:
                if not name.lower().startswith('br_'):
                    header.refuse(f'a public header has the macro {name}')
            for name in header.included('<'):
                if name not in ('stddef.h', 'stdint.h', 'string.h'):
                    header.refuse(f'a public header includes <{name}>')
        for name in SWITCHES:
            if name not in self.inner.words and name not in NEWER:
                self.inner.refuse(f'it has no switch {name}')

    def inspect_files(self):
        """Refuse files that are not the author's; note what they define."""
        for source in self.headers + self.files:
            for name in source.everywhere():
                if name not in C_HEADERS:
                    source.refuse(f'it includes <{name}> on every machine')
        stems = {}
        for source in self.files:
            stem = source.path.stem
            if not stem.isidentifier() or stem in stems:
                source.refuse('the name cannot tell its functions apart')
            stems[stem] = source
            for name in source.included('"'):
                if name not in ('inner.h', 'bearssl.h'):
                    source.refuse(f'it includes "{name}"')
            for one in source.shared:
                if not one.name.startswith('br_'):
                    source.refuse(f'{one.name} is external without br_')
                other = self.home.setdefault(one.name, source)
                if other is not source:
                    source.refuse(f'it defines {one.name}, as does '
                                  f'{other.name}')

    def find_switches(self):
        """Files set switches before they include inner.h, which turn on parts
        of it.  A part of macros alone goes to each file that asks for it, as
        these macros are common words; another is turned on for all."""
        switches = set()
        for source in self.files:
            if source.inner is not None:
                switches |= set(macros_of(source.tokens[:source.inner]))
        self.parts, self.always = {}, []
        for i, token in enumerate(self.inner.tokens):
            for switch in sorted(switches.intersection(parts(token)[1:])):
                part = self.inner.tokens[i:group(self.inner.tokens, i)]
                if {t.kind for t in part} <= {'directive', *SPACE}:
                    self.parts[switch] = i, part
                    for name in macros_of(part):
                        del self.macros[name]
                else:
                    self.always.append(switch)

    def select(self, wanted):
        """The files that these words need."""
        todo, seen, chosen = list(wanted), set(), set()
        while todo:
            word = todo.pop()
            if word in seen:
                continue
            seen.add(word)
            todo += self.meaning.get(word, ())
            source = self.home.get(word)
            if source and source not in chosen:
                chosen.add(source)
                todo += source.words
            elif not source and word in self.promised and \
                    word not in self.macros:
                self.promised[word].refuse(f'no file defines {word}')
        # Those with headers of the system that others do without come last,
        # as all that follows sees what these define.
        known = {name for header in self.headers
                 for name in header.included('<')}
        return sorted(chosen, key=lambda source: (
            not known.issuperset(source.included('<')), source.name))

    def fingerprint(self):
        """See "repeatable" in the manual."""
        lines = []
        for path in self.root.glob('*/**/*.[ch]'):
            name = path.relative_to(self.root).as_posix()
            if name.startswith(('inc/', 'src/')):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                lines.append((name, digest))
        text = ''.join(f'{digest}  {name}\n' for name, digest in sorted(lines))
        return hashlib.sha256(text.encode()).hexdigest()

    def version(self):
        """What the folder says, as the source itself has no version: Debian's
        change log, git's head, or the folder's name."""
        changes = re.match(r'\S+ \((\S+)\)', self.said('debian/changelog'))
        if changes:
            return changes.group(1)
        commit = self.commit()
        return f'commit {commit}' if commit else \
            f'the folder {shown(self.root.resolve().name)}'

    def commit(self):
        """Git's head: itself a commit, or the name of one, which stands in a
        file of this name or in a list."""
        name = (self.said('.git/HEAD').split() or [''])[-1]
        listed = re.findall(rf'^(\w+) {re.escape(name)}$',
                            self.said('.git/packed-refs'), re.MULTILINE)
        return [*self.said(f'.git/{name}').split(), *listed, name][0]

    def said(self, name):
        """The text of a file that need not be there."""
        path = self.root / name
        return read(path) if path.is_file() else ''


# ----------------------------------------------------------------- writing --

# gcc's warnings on BearSSL's style, which is not ours to change.
WARNINGS = '''unknown-pragmas pedantic unused-function unused-parameter
    unused-const-variable sign-compare conversion sign-conversion shadow
    implicit-fallthrough cast-qual cast-align undef redundant-decls
    vla'''.split()

START = '''/* ====================================================== BearSSL begins ==
 * Written by amalgamate.py; wsock.h goes on where BearSSL ends. */
#ifdef __cplusplus
#error "wsock_tls.h: BearSSL is C: define WSOCK_IMPLEMENTATION in a C file; \\
C++ files just include wsock_tls.h"
#endif
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Weverything"
#elif defined(__GNUC__)
#pragma GCC diagnostic push
%s
#elif defined(_MSC_VER)
#pragma warning(push, 0)
#endif
''' % '\n'.join(f'#pragma GCC diagnostic ignored "-W{name}"' for name in WARNINGS)

ALONE = '''#if %s
#error "wsock_tls.h: another BearSSL's headers stand before it: include the \\
implementation first, or BearSSL in another file"
#endif
'''

END = '''#if defined(__clang__)
#pragma clang diagnostic pop
#elif defined(__GNUC__)
#pragma GCC diagnostic pop
#elif defined(_MSC_VER)
#pragma warning(pop)
#endif
/* ======================================================== BearSSL ends == */
'''


class Fusion:
    """Some files of BearSSL as one translation unit."""

    def __init__(self, library, chosen, options):
        self.library, self.chosen = library, chosen
        self.static, self.comments = not options.extern, options.comments
        self.homes = {}  # of a shared name: its file and its definitions
        for source in chosen:
            for one in source.shared:
                self.homes.setdefault(one.name, (source, []))[1].append(one)
        self.names = {  # of what the headers keep to themselves
            name: f'br_inner__{name}' for header in library.headers
            for name in header.own if not name.startswith('br_')}

    def text(self, more=''):
        """All of it; `more` is code that uses what ends with BearSSL."""
        library = self.library
        before = [f'#undef {name}\n#define {name} {value}\n'
                  for name, value in SWITCHES.items()]
        before += [f'#define {name} 1\n' for name in library.always]
        hidden = {*SWITCHES, *library.always}
        for header in library.headers:
            if header not in library.public:
                hidden.update(header.macros)
        return ''.join([
            START, self.alone(), *before,
            *(self.header(header) for header in library.headers),
            *(self.conditional(header) for header in library.headers),
            *(self.file(source) for source in self.chosen),
            more, undefine(hidden), END])

    def alone(self):
        """Behind another BearSSL's headers those here would be skipped, as
        they have the same macros around them."""
        guards = [name for header in self.library.public
                  for name, macro in header.macros.items() if not macro.body]
        return ALONE % ' || \\\n    '.join(f'defined({g})' for g in guards)

    def header(self, header):
        """A header, but for the parts of inner.h that go to files, and for
        what conditional() declares."""
        edits = self.linkage(header)
        for one in filter(self.is_conditional, header.declarations):
            edits.update(dict.fromkeys(range(one.start, one.end + 1), ''))
        if header is self.library.inner:
            for start, part in self.library.parts.values():
                edits.update(dict.fromkeys(
                    range(start, start + len(part)), ''))
        return titled(header, self.render(header.tokens, self.names, edits))

    def is_conditional(self, one):
        """Whether it declares what is defined inside of an #if.  Where it is
        not defined it must not be static, or C would take an object for a
        table of NULLs."""
        _, definitions = self.homes.get(one.name, (None, []))
        return self.static and one.kind == 'declaration' and \
            bool(definitions) and all(d.condition for d in definitions)

    def conditional(self, header):
        """The declarations of that kind.  They come after all headers, as
        inner.h sets what their conditions ask for."""
        text, edits = '', self.linkage(header)
        for one in filter(self.is_conditional, header.declarations):
            conditions = {d.condition for d in self.homes[one.name][1]}
            tokens = header.tokens[:one.end + 1]
            text += '#if %s\n%s\n#else\n%s\n#endif\n' % (
                ' || '.join(sorted(conditions)),
                self.render(tokens, self.names, edits, one.start),
                self.render(tokens, self.names, {}, one.start))
        return tidy(text)

    def file(self, source):
        """A file, with the parts of inner.h that it asks for."""
        names = {**self.names, **{name: f'br_{source.path.stem}__{name}'
                                  for name in source.own}}
        edits, macros = self.linkage(source), set(source.macros)
        for switch, (_, part) in self.library.parts.items():
            if switch in source.macros and source.inner is not None:
                edits[source.inner] = self.render(part, names, {})
                macros.update(macros_of(part))
        text = self.render(source.tokens, names, edits)
        return titled(source, text) + undefine(macros - {*self.library.macros})

    def linkage(self, source):
        """Edits that make what is shared static.  An array then gets its size
        where it is declared: C takes that for a definition."""
        edits = {}
        for one in source.declarations if self.static else ():
            if one.name in self.homes and not one.private:
                first = source.tokens[one.start].text
                edits[one.start] = 'static' if first == 'extern' else \
                    f'static {first}'
                if one.kind == 'declaration' and one.bracket and \
                        source.tokens[one.bracket + 1].text == ']':
                    home, definitions = self.homes[one.name]
                    with reading(home.path):
                        size = array_size(home, definitions[0])
                    edits[one.bracket] = f'[{size}'
        return edits

    def render(self, tokens, names, edits, start=0):
        """The text of the tokens from `start` on: with edits in the place of
        some, and with other names, but for those of members."""
        out, before = [], ''
        for i in range(start, len(tokens)):
            (kind, text), (name, *rest) = tokens[i], parts(tokens[i])
            if i in edits:
                text = edits[i]
            elif kind == 'word' and before not in ('.', '->'):
                text = names.get(text, text)
            elif kind == 'comment' and not self.comments:
                text = ' '
            elif name == 'include':
                text = '' if rest[0][0] == '"' else text
            elif kind == 'directive':
                text = self.render(list(lex(text)), names, {})
            out.append(text)
            if kind not in SPACE:
                before = text
        return ''.join(out)


def array_size(source, definition):
    """The size of an array, as its brackets have it, or from its values."""
    texts = [t.text for t in source.tokens[definition.bracket + 1:
                                           definition.end]
             if t.kind not in SPACE]
    if texts[0] != ']':
        return ' '.join(texts[:texts.index(']')])
    depth, size, last = 0, 0, ''
    for text in texts[texts.index('{'):]:
        size += depth == 1 and last in ('{', ',') and text != '}'
        depth += (text in '({') - (text in ')}')
        last = text if depth == 1 else ''
    return str(size)


def titled(source, text):
    return f'\n/* ---- {source.name} */\n{tidy(text)}'


def tidy(text):
    """No blanks at the ends of lines, no empty lines one after another."""
    lines = [line.rstrip() for line in text.split('\n')]
    return '\n'.join(line for line, before in zip(lines, [''] + lines)
                     if line or before)


def undefine(names):
    """Those that begin with two underscores are the compiler's."""
    return ''.join(f'#undef {name}\n' for name in sorted(names)
                   if not name.startswith('__'))


HEAD = '''/* wsock_tls.h - wsock.h with wss://: WebSocket and TLS in one file.
 *
 * Do this in ONE C file of your program:
 *
 *     #define WSOCK_IMPLEMENTATION
 *     #include "wsock_tls.h"
 *
 * and in all others, C or C++, just include it.  There is no library to link
 * but the system's: on Windows -lws2_32 -lbcrypt -lcrypt32.
 *
 * This file is made, not written: by amalgamate.py, from wsock.h, whose text
 * follows as it is, and from the source of BearSSL (bearssl.org), which stands
 * where wsock.h includes <bearssl.h>.  What wsock.h says about finding and
 * linking BearSSL is done.
 *
 * BearSSL   {version}
 * SHA-256   {fingerprint}
 *           (see amalgamate.py --help)
 * linkage   {linkage}
 * files     {files}
 *
 * The licence of wsock.h stands at its end.  That of BearSSL:
 *
{licence}
 */
#ifndef WSOCK_BEARSSL
#define WSOCK_BEARSSL
#endif

'''


def amalgamate(library, options):
    """The text of wsock_tls.h, and the files that are in it."""
    wsock, place = read(options.wsock), '#include <bearssl.h>\n'
    if wsock.count(place) != 1:
        raise Refused(f'{options.wsock}: it has no {place.strip()}, where '
                      'BearSSL would stand.  Give the wsock.h that came with '
                      'this script')
    with reading(options.wsock):
        tokens = tokenize(wsock)
        if sum(depths(tokens)):
            raise Refused(UNMATCHED)
    chosen = library.select(words(tokens))
    names = [source.name for source in library.headers + chosen]
    licence = read(library.root / 'LICENSE.txt').strip().split('\n')
    head = HEAD.format(
        version=library.version(), fingerprint=library.fingerprint(),
        linkage='extern' if options.extern else 'static',
        files='\n *           '.join(textwrap.wrap(', '.join(names), 66)),
        licence='\n'.join(f' * {line}'.rstrip() for line in licence))
    if '/*' in head[2:] or head.count('*/') != 1:
        raise Refused(f'{library.root}: its LICENSE.txt or its version cannot '
                      f'stand in a comment{FORK}')
    text = Fusion(library, chosen, options).text()
    return head + wsock.replace(place, text), chosen


def write(path, text):
    """Write a file as a whole or not at all.  A link stays one; a device,
    which a file would take the place of, is refused."""
    whole = Path(os.path.realpath(str(path)))
    try:
        if whole.exists() and not whole.is_file():
            raise OSError(0, 'it is not a file')
        part = whole.with_name(f'{whole.name}.{os.getpid()}.part')
        try:
            part.write_bytes(text.encode())
            os.replace(str(part), str(whole))
        finally:
            if part.exists():
                part.unlink()
    except OSError as error:
        raise Refused(f'{path} cannot be written: {error.strerror}.  Give '
                      'another file with -o') from None


def spare_input(library, options):
    """Refuse to write over what the output is made of."""
    output = Path(os.path.realpath(str(options.output)))
    root = library.root
    for given in (options.wsock, root / 'inc', root / 'src',
                  root / 'LICENSE.txt', Path(__file__)):
        given = Path(os.path.realpath(str(given)))
        if given == output or given in output.parents:
            raise Refused(f'{options.output} cannot be written: the output is '
                          'made of it.  Give another file with -o')


# ---------------------------------------------------------------- checking --

EVERY = [(compiler, level) for compiler in ('gcc', 'clang')
         for level in ('-O0', '-O1', '-O2', '-O3', '-Os')]
QUICK = [('gcc', '-O2'), ('gcc', '-O3'), ('clang', '-O2')]
# The tests of test_crypto that take nineteen twentieths of its time.
SLOW = '''HMAC AES_small AES_ct DES_tab DES_ct RSA_i15 RSA_i31 RSA_i32 RSA_i62
    EC_prime_i15 EC_c25519_i15 EC_c25519_i31 EC_c25519_m15 ECDSA_i15
    ECDSA_i31'''.split()


class Check:
    """What the last part of the manual describes."""

    def __init__(self, library, options, folder):
        self.library, self.options, self.folder = library, options, folder
        self.output = read(options.output)
        text, self.chosen = amalgamate(library, options)
        if text != self.output:
            raise Refused(f'{options.output} is not what {library.root} gives '
                          'with these options.  Make it again')
        print('ok   the output is what the source gives')

    def run(self):
        """Run all checks, two at a time; whether all is well."""
        todo = [('the symbols of a separate build', self.symbols, ())]
        for test in 'test_crypto', 'test_x509':
            code = self.code(test)
            for compiler, level in QUICK if self.options.quick else EVERY:
                todo.append((f'{test}, {compiler} {level}', self.test,
                             (code, compiler, level)))
        passed, failed = 1, 0
        with ThreadPoolExecutor(2) as pool:
            problems = pool.map(lambda one: self.problem(*one[1:]), todo)
            for (title, *_), problem in zip(todo, problems):
                print(f'FAIL {title}: {problem}' if problem else
                      f'ok   {title}', flush=True)
                passed, failed = passed + (not problem), failed + bool(problem)
        print(f'{passed} passed, {failed} failed')
        return failed == 0

    def problem(self, function, arguments):
        """What is wrong with one of them; empty: it is well."""
        try:
            function(*arguments)
        except Refused as problem:
            return str(problem)
        return ''

    def command(self, folder, *command):
        """Run a program in a folder; returns its output."""
        try:
            done = subprocess.run(
                [str(word) for word in command], cwd=str(folder),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                universal_newlines=True)
        except OSError as error:
            raise Refused(f'{command[0]}: {error.strerror}.  --check needs '
                          'gcc, clang and nm') from None
        if done.returncode:
            raise Refused(f'{command[0]} ends with {done.returncode}: '
                          f'{done.stdout[-2000:]}')
        return done.stdout

    def compile(self, compiler, *arguments):
        root = self.library.root.resolve()
        self.command(self.folder, compiler, '-w', f'-I{root}/inc',
                     f'-I{root}/src', *(f'-D{name}={value}' for name, value
                                        in SWITCHES.items()), *arguments)

    def exported(self, *paths):
        """The global names of objects, but for those of wsock.h."""
        self.compile('gcc', '-DWSOCK_IMPLEMENTATION', '-c', *paths)
        lines = self.command(self.folder, 'nm', '-g', '--defined-only',
                             *(f'{path.stem}.o' for path in paths))
        return {line.split()[-1] for line in lines.split('\n')
                if len(line.split()) == 3 and ' wsock_' not in line}

    def symbols(self):
        alone = self.exported(*(s.path.resolve() for s in self.chosen))
        twin, whole = self.folder / 'twin.c', self.folder / 'whole.c'
        external = argparse.Namespace(extern=True, comments=False)
        write(twin, Fusion(self.library, self.chosen, external).text())
        write(whole, self.output)
        expected = alone if self.options.extern else set()
        wrong = self.exported(twin) ^ alone | self.exported(whole) ^ expected
        if wrong or not alone:
            raise Refused(', '.join(sorted(wrong)))

    def code(self, test):
        """The source files of a test with what it needs of BearSSL fused; the
        output's files are among it, as they stand in the output."""
        source = self.library.root.resolve() / 'test' / f'{test}.c'
        tokens = tokenize(read(source))
        chosen = self.library.select(
            words(tokens).union(*(s.words for s in self.chosen)))
        chosen += [s for s in self.chosen if s not in chosen]
        fusion = Fusion(self.library, chosen, self.options)
        for one in self.chosen:
            if fusion.file(one) not in self.output:
                raise Refused(f'{one.name} is another in {test}')
        path = self.folder / f'{test}.c'
        if self.options.extern:
            write(path, fusion.text())
            return path, source
        write(path, fusion.text(fusion.render(tokens, fusion.names, {})))
        return path,

    def test(self, code, compiler, level):
        program = self.folder / f'{code[0].stem}-{compiler}{level}'
        self.compile(compiler, level, '-o', program, *code)
        names = []
        if code[0].stem == 'test_crypto':
            names = self.command(self.folder, program)
            names = names.split('names:')[-1].split()
            if 'MD5' not in names:
                raise Refused('it does not name its tests')
        if self.options.quick:
            names = [name for name in names if name not in SLOW]
        # Where test_x509 finds its files.
        self.command(self.library.root, program, *names)


# ------------------------------------------------------------ command line --

def command_line():
    # -OO takes the manual away.
    summary, _, manual = (__doc__ or '').partition('\n\n')
    parser = argparse.ArgumentParser(
        description=summary, epilog=manual,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--bearssl', metavar='DIR', type=Path, required=True,
        help='the source of BearSSL')
    add('-o', dest='output', metavar='FILE', type=Path,
        default=Path('wsock_tls.h'), help='the output (wsock_tls.h)')
    add('--wsock', metavar='FILE', type=Path,
        default=Path(__file__).resolve().with_name('wsock.h'),
        help='the wsock.h to use (the one beside this script)')
    add('--extern', action='store_true',
        help='make BearSSL\'s functions external, for other files to call')
    add('--comments', action='store_true', help='keep BearSSL\'s comments')
    add('--check', action='store_true',
        help='prove the output, with the options with which it was made')
    add('--quick', action='store_true', help='make --check short')
    return parser.parse_args()


def run(options):
    """What is asked for; returns the exit status."""
    library = Library(options.bearssl)
    if options.check:
        with tempfile.TemporaryDirectory() as folder:
            return 0 if Check(library, options, Path(folder)).run() else 1
    spare_input(library, options)
    text, chosen = amalgamate(library, options)
    write(options.output, text)
    print(f'{shown(str(options.output))}: {len(text.encode()):,} bytes, with '
          f'{len(chosen)} of {len(library.files)} files of BearSSL', flush=True)
    return 0


def main():
    try:
        return run(command_line())
    except Refused as problem:
        status, text = 1, problem
    except OSError as error:
        status, text = 1, f'{error.filename or "stdout"}: {error.strerror}'
        sys.stdout = None  # it would be tried again at the end
    except KeyboardInterrupt:
        status, text = 130, 'interrupted'
    print(f'amalgamate.py: {text}', file=sys.stderr)
    return status


if __name__ == '__main__':
    sys.exit(main())
