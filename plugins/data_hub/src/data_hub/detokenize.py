"""Text put back from the form in which benchmarks tokenized it: functions of one document.

The rules are read off the data itself. Where the original's have faults, a docstring says which are mended. Nothing
is lost but blanks and what a docstring names. Blank documents become empty texts, which are left out (the original
put an end-of-text token after every one of them).
"""

from __future__ import annotations

import re

# Patterns begin with a character, and look behind after it: they are found several times as fast.
HEADING = re.compile(r"=(?: =)+")
MARK = re.compile(r" @([-,.])@(?: |$)")
SPAN = re.compile(r" – (?<=\d – )(?=\d)(?!(?<=\d\d\d\d – )\d\d? [A-Z]\w+ \d)")
"""The dash of years, pages, scores; between two whole dates it keeps its blanks."""
SLASH = re.compile(r" / (?<![,;:!?] / )")
"""Between words; after a mark it parts lines of verse, and keeps its blanks."""
DEGREE = re.compile(r"° (?=[CFNSEW]\b)")
LETTER, ENDING = re.compile(r"(\[[^\W\dadsAI]\]) (?=[a-z])"), re.compile(r" (\[[ds]\])(?<=\w ...)")
"""An editor's: "[t] here", "owe [s]"."""

YEAR = re.compile(r" ' (?:(?=\d\ds\b)|(?=\d\d\b)(?<![s\d] ' ))")
CLITIC = re.compile(r" '(?:(?<=[^ ,(] ') (?=(?:s|t|m|d|re|ve|ll)(?![\w-]))|(?<=[\w>] ')(?=[^\W\d]))")
CURLY = re.compile(r"’ (?=(?:s|t|m|d|re|ve|ll)\b)")
PLURAL = re.compile(r" '(?:(?<=\w\w\ws ')|(?<=[A-Z][A-Z][Ss] '))(?= |$)")
"""The possessive of a word of four letters and more, which "was" and "his" are not, or of capitals."""
PAIR = re.compile(r"' (?<![^ (\"]' )((?:[^']|(?<=\w)'(?=\w)){1,60}?) ?'(?=[ ,.;:?!\")]|$)")
OPENS = re.compile(r"' (?<=[,:] ' )(?=[A-Z])")
CLOSES = re.compile(r" '(?:(?<=[.?!>] ')(?= |$)|(?<=[,.?!] ')(?= ?\"))")
"""Single quotes whose other one is missing, or far; the plural of <unk>."""
COLON = re.compile(r" : (?<=\d : )(?<!\d\d\d : )(?=\d\d?\b)")
"""Of times and ratios."""
AMPERSAND = re.compile(r" & (?:(?<=\b[A-Z] & )|(?<=\b[A-Z][A-Z] & ))(?=[A-Z]\b)")
LAST, AFTER = re.compile(r'[,.?!] "'), re.compile(r" ?(?:$|(?!\.\.)[,.;:?!)\]])")
"""A double quote that closes if it is the only one; what follows one that closes whatever came before."""
OPENING, CLOSING = "([“‘$£€¥₹#", ")]”’°′″%"
LEANING = re.compile(r" (?=[,.;:?!](?:[ \"')\]”’]|$))")


def wikitext(text: str) -> str:
    """WikiText, a line of it, raw or with <unk>.

    `@-@`, `@,@`, `@.@` are marks within words and numbers; headings are `= Title =`, `== Section ==`.
    Mended: the rule for years ("the 1960s and ' 70s") had no effect, its pattern being quoted wrongly; apostrophes
    other than 's were left apart ("don 't"), and plural possessives joined to the next word ("Coaches'polls");
    one double quote without another put all after it on the wrong side; the blank after a degree was lost
    ("35°and"); a single N, which is no number here, was turned into 1.
    """
    text = HEADING.sub(lambda run: run[0].replace(" ", ""), MARK.sub(r"\1", text.strip()))
    text = DEGREE.sub("°", SLASH.sub("/", SPAN.sub("–", text))).replace(" ‑ ", "‑")
    return ENDING.sub(r"\1", LETTER.sub(r"\1", _joined(text)))


def lm1b(text: str) -> str:
    """One Billion Word, a sentence.

    Mended: quotes that open or close in another sentence, plural possessives, per cent signs, and points after a
    bracket or a quote were left apart.
    """
    text = re.sub(r"(https?) : / / ", r"\1://", text.strip())
    return _joined(text.replace(" / ", "/"))


def ptb(text: str) -> str:
    """Penn Treebank as Mikolov has it: lower case, no marks, N for numbers, <unk>.

    As in the original, N becomes 1 and <unk> becomes ?; published figures rest on it. Mended: N at either end of a
    line stayed; 're, 've, 'll, 'd, 'm and a plural at a line's end were left apart; \\* kept its stroke.
    """
    words = " ".join({"N": "1", "<unk>": "?"}.get(word, word) for word in text.split())
    words = words.replace(" n't", "n't").replace("\\/", "/").replace("\\*", "*")
    return re.sub(r"([$#]) (?=\d)", r"\1", re.sub(r" ('(?:s|re|ve|ll|d|m)?)(?= |$)", r"\1", words))


def lambada(text: str) -> str:
    """LAMBADA as OpenAI published it: natural text, some of it in curly quotes, which become straight.

    Mended: the curly single quotes stayed, and so did '' in place of a double quote. The line feed that the original
    puts before each passage is no part of it, and is left out.
    """
    return text.strip().translate(str.maketrans("“”‘’", "\"\"''")).replace("''", '"')


def _joined(text: str) -> str:
    """Apostrophes, quotes, brackets, marks and currencies leaned on their words."""
    if "'" in text:
        text = PLURAL.sub("'", CLITIC.sub("'", YEAR.sub(" '", text)))
        text = CLOSES.sub("'", OPENS.sub("'", PAIR.sub(r"'\1'", text)))
    text = _quoted(CURLY.sub("’", AMPERSAND.sub("&", COLON.sub(":", text))))
    for mark in OPENING:
        text = text.replace(f"{mark} ", mark)
    for mark in CLOSING:
        text = text.replace(f" {mark}", mark)
    return LEANING.sub("", text)


def _quoted(text: str) -> str:
    """Double quotes, in turn opening and closing, but where what stands beside one says which it is."""
    parts = text.split('"')
    opens = len(parts) != 2 or not LAST.search(text)
    for i in range(1, len(parts)):
        opening = (opens or parts[i - 1].rstrip()[-1:] in "([:") and not AFTER.match(parts[i])
        if opening:
            parts[i] = parts[i].removeprefix(" ")
        else:
            parts[i - 1] = parts[i - 1].removesuffix(" ")
        opens = not opening
    return '"'.join(parts)
