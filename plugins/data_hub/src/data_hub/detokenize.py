"""Text put back from the form in which benchmarks tokenised it: functions of one document.

The rules are read off the data itself. Where the original's have faults, a docstring says which are mended. Blank
documents become empty texts, which are left out (the original put an end-of-text token after every one of them).
"""

from __future__ import annotations

import re

PAIR, QUOTES = re.compile(r'" ([^"]*?) "'), r'"\1"'
SINGLE_PAIR = re.compile(r"(?<![^ (\"])' ([^']{1,60}?) ?'(?=[ ,.;:?!\")]|$)")
LAST = re.compile(r'[,.?!] "')
"""A quote that closes."""
CLITIC = re.compile(r"(?<=\w) (['’])(?=\w)")
CURLY_CLITIC = re.compile(r"(?<=\w) ’ (?=(?:s|t|m|d|re|ve|ll)\b)")
PLURAL = re.compile(r"(?<=\w\w\ws) (['’])(?= |$)")
"""The possessive of a word of four letters and more, which `was` and `his` are not."""
TIME = re.compile(r"(?<=\d) : (?=\d\d\b)")
DECADE = re.compile(r"(?:(?<=^)|(?<= ))' (?=\d\ds\b)|(?<![s ]) ' (?=\d\d\b)")
OPENING = re.compile(r"([(\[“]) ")
CLOSING = re.compile(r" ([)\]”])")
LEANING = re.compile(r" ([,.;:?!%])(?= |$|[\"')\]])")
CURRENCY = re.compile(r"([$£€¥#]) (?=\d)")


def wikitext(text: str) -> str:
    """WikiText, a line of it, raw or with <unk>.

    `@-@`, `@,@`, `@.@` are marks within words and numbers; headings are `= Title =`, `== Section ==`.
    Mended: the rule for years ("the 1960s and ' 70s") had no effect, its pattern being quoted wrongly, and the one
    for plurals joined the quote to "1960s"; apostrophes other than 's were left apart ("don 't"); a single N, which
    is no number here, was turned into 1.
    """
    text = re.sub(r" @([-,.])@ ", r"\1", text.strip())
    text = re.sub(r"=(?: =)+", lambda run: run[0].replace(" ", ""), text)
    text = re.sub(r" ([/‑]) ", r"\1", text)
    text = re.sub(r"(?<=\d) ([°′″]) ?", r"\1", text)
    return _joined(text)


def lm1b(text: str) -> str:
    """One Billion Word, a sentence. Mended: quotes that open or close in another sentence were left apart."""
    text = re.sub(r"(https?) : / / ", r"\1://", text.strip())
    return _joined(text.replace(" / ", "/"))


def ptb(text: str) -> str:
    """Penn Treebank as Mikolov has it: lower case, no marks, N for numbers, <unk>.

    As in the original, N becomes 1 and <unk> becomes ?; published figures rest on it. Mended: N at either end of a
    line stayed; 're, 've, 'll, 'd, 'm and a plural at a line's end were left apart; \\* kept its stroke.
    """
    words = " ".join({"N": "1", "<unk>": "?"}.get(word, word) for word in text.split())
    words = words.replace(" n't", "n't").replace("\\/", "/").replace("\\*", "*")
    return CURRENCY.sub(r"\1", re.sub(r" ('(?:s|re|ve|ll|d|m)?)(?= |$)", r"\1", words))


def lambada(text: str) -> str:
    """LAMBADA as OpenAI published it: natural text, some of it in curly quotes, which become straight.

    Mended: the curly single quotes stayed, and so did '' in place of a double quote. The line feed that the original
    puts before each passage is no part of it, and is left out.
    """
    return text.strip().translate(str.maketrans("“”‘’", "\"\"''")).replace("''", '"')


def _joined(text: str) -> str:
    """Apostrophes, quotes, brackets, marks and currencies leaned on their words."""
    text = DECADE.sub(lambda match: match[0].removesuffix(" "), text)
    text = CURLY_CLITIC.sub("’", CLITIC.sub(r"\1", text))
    text = _quoted(TIME.sub(":", SINGLE_PAIR.sub(r"'\1'", PLURAL.sub(r"\1", text))))
    text = CLOSING.sub(r"\1", OPENING.sub(r"\1", text))
    return CURRENCY.sub(r"\1", LEANING.sub(r"\1", text))


def _quoted(text: str) -> str:
    """Double quotes in pairs; one without a second closes at the end of the text and after a mark, and else opens."""
    if text.count('"') == 1 and (text.endswith('"') or LAST.search(text)):
        return text.replace(' "', '"')
    if text.count('"') % 2 and not text.endswith('"'):
        first, _, rest = text.partition('" ')
        return f'{first}"{PAIR.sub(QUOTES, rest)}'
    return PAIR.sub(QUOTES, text)
