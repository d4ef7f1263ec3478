#!/usr/bin/env python3
"""Write wsock_tls.h: wsock.h and BearSSL in one file, so that wss:// works.

    python3 amalgamate.py --bearssl DIR [-o wsock_tls.h]

DIR is a folder of BearSSL's source (0.6 or newer) as its author or a
distribution publishes it; `apt-get source bearssl` makes one.  The result is
used exactly like wsock.h.  In one C file of the program:

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
  - three switches are set, whose reasons stand in SWITCHES below.
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
  takes less than one, with -O2 and -O3 and without the slowest tests.
"""

import argparse
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
    # BearSSL 0.6 believes this instruction even where it yields all ones.
    # wsock.h seeds the generator from the system.
    'BR_RDRAND': '0',
}

# What compilers say of BearSSL's style, which is not ours to change.
QUIET = '''unknown-pragmas pedantic unused-function unused-parameter
    unused-const-variable sign-compare conversion sign-conversion shadow
    implicit-fallthrough cast-qual cast-align undef redundant-decls vla'''.split()


class Refused(Exception):
    """Cannot be done; the text says why, and how to mend it."""


# ------------------------------------------------------------------- lexer --

class Token(NamedTuple):
    """A piece of C.  The tokens of a file, joined, are the file."""
    kind: str  # blank, comment, directive, string, number, word or mark
    text: str


LEXEMES = re.compile(r'''
    (?P<blank> [ \t\f\v]+ | \\\n | \n)
  | (?P<comment> /\*.*?\*/ | //[^\n]*)
  | (?P<string> "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
  | (?P<number> \.?[0-9](?:[eEpP][+-]|[.\w])*)
  | (?P<word> [A-Za-z_]\w*)
  | (?P<mark> \.\.\. | -> | \#\# | [][(){}.,;:?=+*/%&|^!~<>\#-])
  | (?P<wrong> .)
''', re.VERBOSE | re.DOTALL | re.ASCII)

SPACE = 'blank', 'comment'


def lex(text):
    """Split text into tokens, of which preprocessor lines are many."""
    for match in LEXEMES.finditer(text):
        if match.lastgroup == 'wrong':
            line = text.count('\n', 0, match.start()) + 1
            raise Refused(f'line {line}: {match.group()} is not C')
        yield Token(match.lastgroup, match.group())


def tokenize(text):
    """Split a file into tokens; a preprocessor line, however long, is one."""
    tokens, line, fresh = [], None, True
    for token in lex(text):
        if token.text == '\n':
            if line is not None:
                tokens.append(Token('directive', line))
            line, fresh = None, True
        elif fresh and token.text == '#':
            line = ''
        if line is not None:
            line += token.text
        else:
            tokens.append(token)
        fresh = fresh and (token.kind in SPACE)
    return tokens


@functools.lru_cache(maxsize=None)
def directive(text):
    """The tokens of a preprocessor line behind its #."""
    return [t for t in lex(text) if t.kind not in SPACE][1:]


def is_directive(token, *names):
    """Whether a token is a preprocessor line, and one of these."""
    if token.kind != 'directive':
        return False
    parts = directive(token.text)
    return bool(parts) and parts[0].text in names


def words(tokens):
    """All identifiers in these tokens, also those of preprocessor lines."""
    found = set()
    for token in tokens:
        if token.kind == 'word':
            found.add(token.text)
        elif token.kind == 'directive':
            found |= words(directive(token.text)[1:])
    return found


def group(tokens, start):
    """The index behind the #endif of the #if at `start`."""
    depth = 0
    for i in range(start, len(tokens)):
        depth += is_directive(tokens[i], 'if', 'ifdef', 'ifndef')
        depth -= is_directive(tokens[i], 'endif')
        if depth == 0:
            return i + 1
    raise Refused('an #if has no #endif: the file is damaged')


# ------------------------------------------------------------ declarations --

class Macro(NamedTuple):
    parameters: Optional[list]  # None: it takes none
    body: list


class Declaration(NamedTuple):
    """What one declaration or definition at file scope declares."""
    kind: str    # function (with its body), prototype, object or typedef
    name: str
    start: int   # the indices of its first token,
    end: int     # of its last,
    bracket: Optional[int]  # and of the [ behind its name
    private: bool           # it is static
    initialized: bool
    condition: str = ''  # of the #if around it
    pasted: str = ''  # the word that ## makes the name of, with others


TYPES = set('''auto char const double enum extern float inline int long
    register short signed static struct typedef union unsigned void volatile
    size_t ssize_t int8_t uint8_t int16_t uint16_t int32_t uint32_t int64_t
    uint64_t'''.split())


def macros_of(tokens):
    """The macros that these tokens define.  Of several definitions of one,
    that with the longest body stands for all."""
    found = {}
    for token in tokens:
        if not is_directive(token, 'define'):
            continue
        name = directive(token.text)[1].text
        text = token.text[token.text.index('define') + 6:]
        rest = list(lex(text[text.index(name) + len(name):]))
        parameters = None
        if rest and rest[0].text == '(':
            end = [t.text for t in rest].index(')')
            parameters = [t.text for t in rest[:end] if t.kind == 'word']
            rest = rest[end + 1:]
        body = [t for t in rest if t.kind not in SPACE]
        if name not in found or len(body) > len(found[name].body):
            found[name] = Macro(parameters, body)
    return found


def defines_function(name, macros):
    """Whether it is a macro that, invoked, is a whole function."""
    macro = macros.get(name)
    return bool(macro and macro.parameters) and '{' in [
        t.text for t in macro.body]


def is_marker(name, macros):
    """Whether it is a macro that stands alone: for one that is empty, or
    yields pragmas, no semicolon follows."""
    macro = macros.get(name)
    return macro is not None and macro.parameters is None and (
        not macro.body or macro.body[0].text == '_Pragma')


def declarations(tokens, macros, types):
    """All declarations at file scope.

    Both sides of an #if are read: each begins with the state that was at the
    #if, so that a brace which stands in both counts once.
    """
    found, states, types = [], [], set(types)
    conditions = []  # of each open #if: those of its sides so far
    head, depth = [], 0  # the declaration's (index, text) outside of braces
    for i, token in enumerate(tokens):
        if is_directive(token, 'if', 'ifdef', 'ifndef'):
            states.append((list(head), depth))
            conditions.append([condition(token)])
        elif is_directive(token, 'else', 'elif'):
            head, depth = list(states[-1][0]), states[-1][1]
            conditions[-1].append(condition(token))
        elif is_directive(token, 'endif'):
            states.pop()
            conditions.pop()
        if token.kind in SPACE or token.kind == 'directive':
            continue
        depth -= token.text == '}'
        if depth == 0:
            head.append((i, token.text))
        depth += token.text == '{'
        if depth == 0 and len(head) == 1 and is_marker(token.text, macros):
            head = []
        elif depth == 0 and is_complete([text for _, text in head], macros):
            more = declaration(head, macros, types)
            types |= {d.name for d in more if d.kind == 'typedef'}
            found += [d._replace(condition=conjunction(conditions))
                      for d in more]
            head = []
    if head or depth:
        raise Refused('its braces do not match: the file is damaged')
    return found


def condition(token):
    """The condition of an #if, #elif or #else, as an #if has it."""
    name = directive(token.text)[0].text
    text = ''.join(' ' if t.kind in SPACE else t.text for t in lex(token.text))
    text = ' '.join(text.split(name, 1)[1].split())
    return {'ifdef': f'defined {text}', 'ifndef': f'!defined {text}',
            'else': ''}.get(name, text)


def conjunction(conditions):
    """The condition under which all open #ifs are at their present side."""
    return ' && '.join(
        f'!({text})' if i < len(sides) - 1 else f'({text})'
        for sides in conditions for i, text in enumerate(sides) if text)


def is_complete(head, macros):
    """Whether these texts outside of braces are a whole declaration."""
    if head.count('(') != head.count(')'):
        return False
    return (head[-1] == ';'
            or head[-3:] == [')', '{', '}']
            or head[-1] == ')' and defines_function(head[0], macros))


def declaration(head, macros, types):
    """What a declaration declares: one name, or none if it is a struct or
    the like; a macro that is a function may be several."""
    texts = [text for _, text in head]
    if defines_function(texts[0], macros):
        return [d._replace(start=head[0][0], end=head[-1][0])
                for d in expanded(texts, macros, types)]
    (start, _), (end, last) = head[0], head[-1]
    initialized = '=' in texts
    if initialized:
        head = head[:texts.index('=')]
    # What is left: specifiers, with a } if they have a body; the name; its
    # brackets or parameters.
    left = without_invocations(head, macros)
    left = [(i, text) for i, text in left if text not in '{;']
    texts = [text for _, text in left]
    at = name_of(texts)
    if texts[at] == '}' or texts[at - 1] in ('struct', 'union', 'enum'):
        return []
    understood(texts, at, types)
    kind, behind = 'object', texts[at + 1:at + 2]
    if 'typedef' in texts:
        kind = 'typedef'
    elif behind == ['(']:
        kind = 'prototype' if last == ';' else 'function'
    return [Declaration(
        kind, texts[at], start, end,
        left[at + 1][0] if behind == ['['] else None,
        'static' in texts[:at], initialized)]


def expanded(texts, macros, types):
    """What a macro declares that, invoked as in these texts, is functions."""
    macro = macros[texts[0]]
    arguments = ' '.join(texts[2:-1]).split(',')
    values = dict(zip(macro.parameters, arguments))
    body, made, pasted = [t.text for t in macro.body], [], {}
    while body:
        first = body.pop(0)
        text = values.get(first, first).strip()
        while body[:1] == ['##']:
            text += values.get(body[1], body[1]).strip()
            pasted[text] = first
            del body[:2]
        made.append(text)
    return [d._replace(pasted=pasted.get(d.name, '')) for d in declarations(
        list(lex(' '.join(made))), macros, types)]


def without_invocations(head, macros):
    """Leave out invocations of macros, which are attributes here."""
    texts, kept, i = [text for _, text in head], [], 0
    while i < len(head):
        macro = macros.get(texts[i])
        if macro and macro.parameters and texts[i + 1] == '(':
            i = closing(texts, i + 1)
        else:
            kept.append(head[i])
        i += 1
    return kept


def closing(texts, opening):
    """The index of the bracket that closes the one at `opening`."""
    depth = 0
    for i in range(opening, len(texts)):
        depth += (texts[i] in '([{') - (texts[i] in ')]}')
        if depth == 0:
            return i
    raise Refused('its brackets do not match: the file is damaged')


def name_of(texts):
    """Where the declared name stands: before its parameters or brackets, or
    in (*name); else it is the last."""
    for i, text in enumerate(texts):
        if text == '(' and texts[i + 1] == '*':
            return i + 2
        if text in '([':
            return i - 1
    return len(texts) - 1


def understood(texts, at, types):
    """Refuse what is neither a type of C nor one of BearSSL's."""
    for i, text in enumerate(texts[:at]):
        known = (text in TYPES or text in types or text in '*(}'
                 or text.startswith('__')
                 or texts[i - 1] in ('struct', 'union', 'enum'))
        if not known:
            raise Refused(
                f'"{" ".join(texts)}" has a word that is neither C nor '
                f'BearSSL\'s, {text}: is this a fork? '
                'Take the source as its author publishes it')


# --------------------------------------------------------------- the source --

def read(path):
    """A file's text."""
    try:
        return path.read_bytes().decode().replace('\r\n', '\n')
    except OSError as error:
        raise Refused(f'{path}: {error.strerror}') from None
    except UnicodeDecodeError:
        raise Refused(f'{path}: it is not text in UTF-8') from None


def included(token):
    """What an #include includes, as it is written there; else None."""
    if not is_directive(token, 'include'):
        return None
    return ''.join(t.text for t in directive(token.text)[1:])


def includes(tokens, quote):
    """The files that are included, by their first character: " or <."""
    names = [included(token) for token in tokens]
    return [name[1:-1] for name in names if name and name[0] == quote]


def without_cplusplus(tokens):
    """Leave out what is only for C++: extern "C"."""
    kept, i = [], 0
    while i < len(tokens):
        if is_directive(tokens[i], 'ifdef') and \
                directive(tokens[i].text)[1].text == '__cplusplus':
            i = group(tokens, i)
        else:
            kept.append(tokens[i])
            i += 1
    return kept


class Source:
    """A file of BearSSL, understood.  `macros` and `types` are those of the
    headers that it includes."""

    def __init__(self, root, name, macros, types):
        self.path, self.name = root / name, name
        try:
            self.tokens = without_cplusplus(tokenize(read(self.path)))
            self.macros = macros_of(self.tokens)
            self.words = words(self.tokens)
            self.declarations = declarations(
                self.tokens, {**macros, **self.macros}, types)
        except Refused as error:
            raise Refused(f'{self.path}: {error}') from None

    def definitions(self):
        """What it defines for all of BearSSL."""
        return [d for d in self.declarations if not d.private and (
            d.kind == 'function' or d.kind == 'object' and d.initialized)]

    def private_names(self):
        """What is its own at file scope: static names, and types."""
        own = [d for d in self.declarations
               if d.private or d.kind == 'typedef']
        return {d.name for d in own} | {d.pasted for d in own} - {''}


class Library:
    """BearSSL: its headers in the order in which they are needed, its files,
    and what is defined where."""

    def __init__(self, root):
        self.root = root
        for name in 'inc/bearssl.h', 'src/inner.h', 'LICENSE.txt':
            if not (root / name).is_file():
                raise Refused(
                    f'{root} is not the source of BearSSL: it has no {name}. '
                    'Give the folder that holds inc and src, such as '
                    '"apt-get source bearssl" makes')
        self.headers, self.macros, self.types = [], {}, set()
        self.add_header('src/inner.h')
        self.inner = self.headers[-1]
        self.files = [
            Source(root, path.relative_to(root).as_posix(), self.macros,
                   self.types) for path in sorted(root.glob('src/**/*.c'))]
        self.home = {}       # a shared name: the file that defines it
        self.promised = {}   # a shared name: the header that declares it
        self.meaning = {}    # a header's macro or function: the words in it
        self.read_headers()
        self.read_files()
        self.read_switches()

    def add_header(self, name):
        """Add a header behind those that it includes itself."""
        if name in [header.name for header in self.headers]:
            return
        for other in includes(tokenize(read(self.root / name)), '"'):
            found = [f'{folder}/{other}' for folder in ('src', 'inc')
                     if (self.root / folder / other).is_file()]
            if not found:
                raise Refused(f'{self.root / name}: it includes {other}, '
                              'which is not there: is the folder complete?')
            self.add_header(found[0])
        header = Source(self.root, name, self.macros, self.types)
        self.headers.append(header)
        self.macros.update(header.macros)
        self.types |= {d.name for d in header.declarations
                       if d.kind == 'typedef'}

    def public(self):
        return [h for h in self.headers if h.name.startswith('inc/')]

    def read_headers(self):
        """Learn what the headers declare; refuse what is not BearSSL's."""
        for header in self.public():
            strange = [f'the macro {name}' for name in header.macros
                       if not name.lower().startswith('br_')]
            strange += [f'the header <{name}>'
                        for name in includes(header.tokens, '<')
                        if name not in ('stddef.h', 'stdint.h', 'string.h')]
            if strange:
                raise foreign(header, f'{strange[0]} in a public header')
        for name in SWITCHES:
            if name not in self.inner.words:
                raise foreign(self.inner, f'no switch {name}')
        for header in self.headers:
            for name, macro in header.macros.items():
                self.meaning[name] = words(macro.body)
            for d in header.declarations:
                if d.kind == 'function':
                    self.meaning[d.name] = words(
                        header.tokens[d.start:d.end + 1])
                elif d.kind != 'typedef':
                    self.promised[d.name] = header

    def read_files(self):
        """Learn what the files define; refuse what is not BearSSL's."""
        for source in self.files:
            for name in includes(source.tokens, '"'):
                if name not in ('inner.h', 'bearssl.h'):
                    raise foreign(source, f'#include "{name}"')
            for name in includes(source.tokens, '<'):
                if (self.root / 'inc' / name).is_file():
                    raise foreign(source, f'#include <{name}>')
            for d in source.definitions():
                if not d.name.startswith('br_'):
                    raise foreign(source, f'{d.name} without br_')
                if self.home.setdefault(d.name, source) is not source:
                    raise foreign(source, f'{d.name}, as does '
                                  f'{self.home[d.name].name}')
            if re.search(r'\W', source.path.stem):
                raise foreign(source, 'a name that C cannot spell')
        stems = [source.path.stem for source in self.files]
        for source in self.files:
            if stems.count(source.path.stem) > 1:
                raise foreign(source, 'a name that another file has')

    def read_switches(self):
        """Files set switches before they include inner.h, which turn on parts
        of it.  A part of macros alone goes to each file that asks for it, as
        these macros are common words; another is turned on for all."""
        self.parts, self.always = {}, []
        switches = set()
        for source in self.files:
            for token in source.tokens:
                if included(token) == '"inner.h"':
                    break
                if is_directive(token, 'define'):
                    switches.add(directive(token.text)[1].text)
        tokens = self.inner.tokens
        for i, token in enumerate(tokens):
            if not is_directive(token, 'if'):
                continue
            for switch in switches & words([token]):
                part = tokens[i:group(tokens, i)]
                if any(t.kind not in SPACE + ('directive',) for t in part):
                    self.always.append(switch)
                else:
                    self.parts[switch] = i, part

    def select(self, wanted):
        """The files that these words need, and the names that they share."""
        todo, seen, chosen = list(wanted), set(), []
        while todo:
            word = todo.pop()
            if word in seen:
                continue
            seen.add(word)
            todo += self.meaning.get(word, ())
            source = self.home.get(word)
            if source is None and word in self.promised and \
                    word not in self.macros:
                raise foreign(self.promised[word],
                              f'{word}, which no file defines')
            if source is not None and source not in chosen:
                chosen.append(source)
                todo += source.words
        # What the system's headers define is seen by all that follows.
        return sorted(chosen, key=lambda source: (
            'windows.h' in includes(source.tokens, '<'), source.name))

    def fingerprint(self):
        """See "repeatable" in the manual."""
        lines = []
        for folder in 'inc', 'src':
            for path in (self.root / folder).glob('**/*.[ch]'):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                lines.append((path.relative_to(self.root).as_posix(), digest))
        text = ''.join(f'{digest}  {name}\n' for name, digest in sorted(lines))
        return hashlib.sha256(text.encode()).hexdigest()

    def version(self):
        """What the folder says of its version; BearSSL's source is silent."""
        changes = self.root / 'debian' / 'changelog'
        if changes.is_file():
            return 'Debian ' + read(changes).split(')')[0].split('(')[-1]
        head = self.root / '.git' / 'HEAD'
        if head.is_file():
            name = read(head).split()[-1]
            ref = self.root / '.git' / name
            return 'commit ' + (read(ref).strip() if ref.is_file() else name)
        return 'version not known: the folder does not say'


def foreign(source, what):
    return Refused(f'{source.path}: it has {what}, which is not BearSSL\'s '
                   'way: is this a fork?  Take the source as its author '
                   'publishes it')


# ------------------------------------------------------------------ writing --

START = '''
/* ====================================================== BearSSL begins ==
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
''' % '\n'.join(f'#pragma GCC diagnostic ignored "-W{name}"' for name in QUIET)

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

    def __init__(self, library, chosen, static=True, comments=False):
        self.library, self.chosen = library, chosen
        self.static, self.comments = static, comments
        self.shared = {d.name: (source, d) for source in chosen
                       for d in source.definitions()}
        self.conditions = {}  # of a shared name: those of its definitions
        for source in chosen:
            for d in source.definitions():
                self.conditions.setdefault(d.name, set()).add(d.condition)
        self.inner_names = {
            name: f'br_inner__{name}'
            for header in library.headers for name in header.private_names()
            if not name.startswith('br_')}

    def text(self, more=''):
        """All of it; `more` is code that uses what ends with BearSSL."""
        library = self.library
        before = [f'#undef {name}\n#define {name} {value}'
                  for name, value in SWITCHES.items()]
        before += [f'#define {name} 1' for name in library.always]
        hidden = set(SWITCHES) | set(library.always) | set().union(
            *(h.macros for h in library.headers)) - set().union(
            *(h.macros for h in library.public()))
        return '\n'.join([
            START, *before,
            *(self.header(header) for header in library.headers),
            *(self.late(header) for header in library.headers),
            *(self.file(source) for source in self.chosen),
            more, undefine(hidden) + END])

    def header(self, header):
        """A header, without the parts of inner.h that go to files, and
        without what is declared later."""
        edits = self.linkage(header)
        if header is self.library.inner:
            for start, part in self.library.parts.values():
                edits.update(dict.fromkeys(range(start, start + len(part)),
                                           ''))
        for d in self.conditional(header):
            edits.update(dict.fromkeys(range(d.start, d.end + 1), ''))
        return self.marked(header, header.tokens, self.inner_names, edits)

    def conditional(self, header):
        """The declarations in a header of what is defined inside of an #if.
        Where it is not defined, it must not be static: C would take an object
        for a NULL table.  What the conditions ask for is set in inner.h, so
        these declarations come after all headers."""
        return [d for d in header.declarations
                if self.static and d.kind in ('prototype', 'object')
                and '' not in self.conditions.get(d.name, ('',))]

    def late(self, header):
        """The declarations that are left out of a header."""
        text, edits = '', self.linkage(header)
        for d in self.conditional(header):
            tokens = header.tokens[d.start:d.end + 1]
            here = {i - d.start: edit for i, edit in edits.items()}
            text += '#if %s\n%s\n#else\n%s\n#endif\n' % (
                ' || '.join(sorted(self.conditions[d.name])),
                self.render(tokens, self.inner_names, here),
                self.render(tokens, self.inner_names, {}))
        return tidy(text)

    def file(self, source):
        """One file, with the part of inner.h that it asks for."""
        stem = source.path.stem
        names = {**self.inner_names, **{
            name: f'br_{stem}__{name}' for name in source.private_names()}}
        edits, macros = self.linkage(source, names), set(source.macros)
        for switch, (_, part) in self.library.parts.items():
            if switch in source.macros:
                at = [included(t) for t in source.tokens].index('"inner.h"')
                edits[at] = self.render(part, names, {})
                macros |= set(macros_of(part))
        for _, part in self.library.parts.values():
            kept = set(self.library.macros) - set(macros_of(part))
        macros -= kept
        return self.marked(source, source.tokens, names, edits) + \
            undefine(macros)

    def linkage(self, source, names=()):
        """Edits that make what is shared static.  A declaration of an array
        gets its size, for it now is a tentative definition."""
        edits = {}
        for d in source.declarations if self.static else ():
            if d.name not in self.shared or d.private:
                continue
            first = source.tokens[d.start].text
            edits[d.start] = 'static' if first == 'extern' else \
                f'static {dict(names).get(first, first)}'
            if d.bracket and not d.initialized and \
                    source.tokens[d.bracket + 1].text == ']':
                edits[d.bracket] = f'[{array_size(*self.shared[d.name])}'
        return edits

    def marked(self, source, tokens, names, edits):
        text = self.render(tokens, names, edits)
        return f'\n/* ---- {source.name} */\n{tidy(text)}'

    def render(self, tokens, names, edits):
        """The text of tokens, with other names, but for those of members."""
        out, before = [], ''
        for i, token in enumerate(tokens):
            kind, text = token
            if i in edits:
                text = edits[i]
            elif kind == 'word' and before not in ('.', '->'):
                text = names.get(text, text)
            elif kind == 'comment' and not self.comments:
                text = ' '
            elif (included(token) or ' ')[0] == '"':
                text = ''
            elif kind == 'directive' and not included(token):
                text = self.render(list(lex(text)), names, {})
            out.append(text)
            if kind not in SPACE:
                before = token.text
        return ''.join(out)


def array_size(source, definition):
    """The size of an array, from its brackets or its initializer."""
    texts = [t.text for t in source.tokens[definition.bracket + 1:
                                           definition.end]
             if t.kind not in SPACE]
    if texts[0] != ']':
        return ' '.join(texts[:texts.index(']')])
    depth, size, last = 0, 0, ''
    for text in texts[texts.index('{'):]:
        size += depth == 1 and last in '{,' and text != '}'
        depth += (text in '({') - (text in ')}')
        last = text if depth == 1 else ''
    return str(size)


def tidy(text):
    """No blanks at the ends of lines, no empty lines one after another."""
    lines = [line.rstrip() for line in text.split('\n')]
    kept = [line for line, before in zip(lines, [''] + lines)
            if line or before]
    return '\n'.join(kept)


def undefine(names):
    return ''.join(f'#undef {name}\n' for name in sorted(names)
                   if not name.startswith('__'))




# ------------------------------------------------------------- wsock_tls.h --

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


def amalgamate(options):
    """The text of wsock_tls.h."""
    library = Library(options.bearssl)
    wsock = read(options.wsock)
    place = '#include <bearssl.h>\n'
    if wsock.count(place) != 1:
        raise Refused(f'{options.wsock}: it has no {place.strip()} where '
                      'BearSSL would stand: give the wsock.h that came with '
                      'this script')
    chosen = library.select(words(tokenize(wsock)))
    fusion = Fusion(library, chosen, not options.extern, options.comments)
    before, after = wsock.split(place)
    return head(library, chosen, options) + before + fusion.text() + after


def head(library, chosen, options):
    names = [source.name for source in library.headers + chosen]
    licence = read(library.root / 'LICENSE.txt').strip().split('\n')
    return HEAD.format(
        version=library.version(), fingerprint=library.fingerprint(),
        linkage='extern' if options.extern else 'static',
        files='\n *           '.join(textwrap.wrap(', '.join(names), 66)),
        licence='\n'.join(f' * {line}'.rstrip() for line in licence))


def write(path, text):
    """Write a file as a whole or not at all."""
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        try:
            part.write_bytes(text.encode())
            os.replace(part, path)
        finally:
            if part.exists():
                part.unlink()
    except OSError as error:
        raise Refused(f'{path} cannot be written: {error.strerror}. '
                      'Give another file with -o') from None


# ---------------------------------------------------------------- checking --

LEVELS = '-O0', '-O1', '-O2', '-O3', '-Os'
QUICK_LEVELS = '-O2', '-O3'
# Ten tests of test_crypto that take nine tenths of its time.
SLOW = '''HMAC DES_tab DES_ct RSA_i15 RSA_i31 RSA_i62 EC_prime_i15
    EC_c25519_i15 ECDSA_i15 ECDSA_i31'''.split()


class Check:
    """The proof that the manual's last part describes."""

    def __init__(self, options, folder):
        self.options, self.folder = options, Path(folder)
        self.library = library = Library(options.bearssl)
        self.chosen = library.select(words(tokenize(read(options.wsock))))
        self.includes = [f'-I{library.root}/inc', f'-I{library.root}/src']
        self.failed = self.passed = 0

    def all(self):
        """Run everything; two programs at a time."""
        self.report('the output is what the source gives',
                    read(self.options.output) == amalgamate(self.options))
        with ThreadPoolExecutor(2) as pool:
            for title, problem in pool.map(lambda job: job(), self.jobs()):
                self.report(title, not problem, problem)
        print(f'{self.passed} passed, {self.failed} failed')
        return self.failed == 0

    def jobs(self):
        yield self.symbols
        for test in 'test_crypto', 'test_x509':
            code = self.test_code(test)
            for compiler in 'gcc', 'clang':
                for level in QUICK_LEVELS if self.options.quick else LEVELS:
                    yield functools.partial(self.test, test, code, compiler,
                                            level)

    def report(self, title, good, problem=''):
        self.passed += good
        self.failed += not good
        print('ok  ' if good else 'FAIL', title, problem, flush=True)

    def run(self, *command):
        """Run a program in BearSSL's folder, where its tests find their
        files; returns its output."""
        done = subprocess.run([str(word) for word in command], text=True,
                              cwd=self.library.root, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode:
            raise Refused(f'{command[0]}: status {done.returncode}: '
                          f'{done.stdout[-2000:]}')
        return done.stdout

    def symbols(self):
        """The symbols of the files fused are those of the files alone."""
        title = 'the symbols are those of a separate build'
        alone = set()
        for source in self.chosen:
            alone |= self.exported(source.path)
        twin = self.folder / 'extern.c'
        twin.write_text(Fusion(self.library, self.chosen, False).text())
        if self.exported(twin) != alone:
            return title, sorted(self.exported(twin) ^ alone)
        whole = self.folder / 'whole.c'
        whole.write_text('#define WSOCK_IMPLEMENTATION\n#include "%s"\n'
                         % self.options.output.resolve())
        expected = alone if self.options.extern else set()
        return title, sorted(
            name for name in self.exported(whole) ^ expected
            if not name.startswith('wsock_'))

    def exported(self, path):
        """The global names that an object defines or looks for."""
        switches = [f'-D{name}={value}' for name, value in SWITCHES.items()]
        built = self.folder / f'{path.stem}.o'
        self.run('gcc', '-O0', '-w', '-c', *switches, *self.includes, '-o',
                 built, path)
        lines = self.run('nm', '-g', '--defined-only', built).split('\n')
        return {line.split()[2] for line in lines if len(line.split()) == 3}

    def test_code(self, test):
        """A test fused with what it needs, and with the output's files."""
        tokens = tokenize(read(self.library.root / 'test' / f'{test}.c'))
        files = self.library.select(
            words(tokens).union(*(source.words for source in self.chosen)))
        static = not self.options.extern
        files = [s for s in files] + [s for s in self.chosen
                                      if s not in files]
        fusion = Fusion(self.library, files, static, self.options.comments)
        output = read(self.options.output)
        for source in self.chosen:
            if fusion.file(source) not in output:
                raise Refused(f'{source.name} is not in the output as it is '
                              'in the tests')
        path = self.folder / f'{test}.c'
        path.write_text(fusion.text(
            fusion.render(tokens, fusion.inner_names, {}) if static else ''))
        if static:
            return [path]
        return [path, self.library.root / 'test' / f'{test}.c']

    def test(self, test, code, compiler, level):
        """Build a test and run it."""
        title = f'{test}, {compiler} {level}'
        program = self.folder / (title.replace(', ', '-').replace(' ', ''))
        try:
            self.run(compiler, level, '-w', *self.includes, '-o', program,
                     *code)
            self.run(program, *self.names(test, program))
        except Refused as problem:
            return title, str(problem)
        return title, ''

    def names(self, test, program):
        if test != 'test_crypto':
            return []
        if not self.options.quick:
            return ['all']
        names = self.run(program).split('names:')[-1].split()
        if 'MD5' not in names:
            raise Refused('test_crypto does not name its tests')
        return [name for name in names if name not in SLOW]


# ------------------------------------------------------------ command line --

def command_line():
    manual = __doc__.split('\n\n', 1)
    parser = argparse.ArgumentParser(
        description=manual[0], epilog=manual[1],
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
        help='BearSSL\'s functions are external, for the program\'s own use')
    add('--comments', action='store_true',
        help='keep the comments of BearSSL')
    add('--check', action='store_true',
        help='prove the output instead of writing it; with the options with '
        'which it was written')
    add('--quick', action='store_true', help='a short --check')
    return parser.parse_args()


def main():
    options = command_line()
    try:
        if options.check:
            with tempfile.TemporaryDirectory() as folder:
                return 0 if Check(options, folder).all() else 1
        text = amalgamate(options)
        write(options.output, text)
    except Refused as problem:
        print(f'amalgamate.py: {problem}', file=sys.stderr)
        return 1
    print(f'{options.output}: {len(text.encode()):,} bytes')
    return 0


if __name__ == '__main__':
    sys.exit(main())
