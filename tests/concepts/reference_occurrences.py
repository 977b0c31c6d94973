#!/usr/bin/env python3
"""Occurrences of phrases in a corpus by plain regular expressions over the texts themselves: the oracle of tests/concepts.

  reference_occurrences.py {TOKENS.h5 DOCUMENTS CONCEPTS.tsv OUT.tsv --fold-case|--keep-case}...

DOCUMENTS is what `concord documents` prints. Texts are read from their files, not from the tokens; spans come from byte_begin and byte_end.
Writes first_row, end_row, document, phrase number, kind, shares_token of each occurrence, one a line.
"""
import bisect
import functools
import itertools
import re
import sys
import unicodedata

import h5py

WHITE = "\t\n\x0b\x0c\r \x85\u2028\u2029" + "".join(chr(c) for c in range(0x80, 0x3001) if unicodedata.category(chr(c)) == "Zs")
LINE_END = re.compile("\r\n|[\n\x0b\x0c\r\x85\u2028]")
UNIFIED = {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-"}
SHIFT = 0xF0000  # marks behind what is no word character are told apart from the others


def characters(text):
    """(offset, character or run of white space) of a text."""
    for match in re.finditer(f"[{re.escape(WHITE)}]+|.", text, re.DOTALL):
        yield match.start(), match.group()


category_of = functools.lru_cache(None)(unicodedata.category)


@functools.lru_cache(None)
def units_of(part, fold_case):
    """A character as it is compared: its units, and whether each is a mark."""
    units = unicodedata.normalize("NFD", part)
    if fold_case:
        units = unicodedata.normalize("NFD", units.casefold())
    return [(unit, category_of(unit)[0] == "M" or category_of(unit) == "Cf") for unit in units]


def folded(text, fold_case):
    """The text as it is compared, and for each of its characters the number of the character of `text` it came from."""
    out, origin, word = [], [], True
    for at, part in characters(text):
        if part[0] in WHITE:
            ends = len(LINE_END.findall(part)) + 2 * part.count("\u2029")
            out.append("\n" if ends > 1 else " ")
            origin.append(at)
            word = False
            continue
        if part == "\xad":
            continue
        part = UNIFIED.get(part, part)
        category = category_of(part)
        follows = category[0] == "M" or (category == "Cf" and part != "\u200b")
        if not follows:
            word = category[0] in "LN"
        for unit, mark in units_of(part, fold_case):
            out.append(chr(ord(unit) + SHIFT) if mark and not word and ord(unit) < 0xFFFF else unit)
            origin.append(at)
    return "".join(out), origin


def is_word(character):
    category = category_of(character)
    return category[0] in "LNM" or (category == "Cf" and character != "\u200b")


def read_phrases(path, fold_case):
    """Phrases that belong to a concept, in the order of the file, and those that are only looked for."""
    lines = open(path, encoding="utf-8-sig").read().splitlines()
    header = lines[0].split("\t")
    concept_at, phrase_at = header.index("concept" if "concept" in header else "category"), header.index("phrase")
    weight_at = header.index("weight") if "weight" in header else None
    rows, lists = [], {}
    for line in lines[1:]:
        if not line.strip():
            continue
        cells = line.split("\t")
        text = " ".join(cells[phrase_at].split())
        key = folded(text, fold_case)[0]
        weight = float(cells[weight_at]) if weight_at is not None and len(cells) > weight_at and cells[weight_at] else 1.0
        if key not in lists.setdefault(cells[concept_at], set()):
            lists[cells[concept_at]].add(key)
            rows.append((cells[concept_at], key, weight))
    phrases, silent = [], []
    for concept, key, weight in rows:
        holding = {name: keys for name, keys in lists.items() if key in keys}
        parts = {name: keys for name, keys in holding.items() if any(keys < others for others in holding.values())}
        smallest = [name for name, keys in parts.items() if not any(others < keys for others in parts.values())]
        if (len(holding) == 1 or smallest == [concept]) and weight > 0:
            phrases.append(key)
    for _, key, _ in rows:
        if key not in phrases and key not in silent:
            silent.append(key)
    return phrases, silent


@functools.lru_cache(1)
def bytes_of(path):
    return open(path, "rb").read()


class Document:
    def __init__(self, raw, fold_case):
        self.raw = raw
        text = raw.decode()
        self.folded, self.origin = folded(text, fold_case)
        self.bytes_before = list(itertools.accumulate((len(c.encode()) for c in text), initial=0))
        self.pattern, self.phrases = None, None

    def byte_range(self, begin, end):
        """Bytes of the folded characters [begin, end), and whether they are whole characters."""
        whole = (begin == 0 or self.origin[begin - 1] != self.origin[begin]) and (end == len(self.origin) or self.origin[end - 1] != self.origin[end])
        return self.bytes_before[self.origin[begin]], self.bytes_before[self.origin[end - 1] + 1], whole

    def longest_within(self, at, stop):
        """The longest phrase at `at` that ends before byte `stop`, by trying them all."""
        for phrase in self.phrases:
            end = at + len(phrase)
            if self.folded.startswith(phrase, at) and (end == len(self.folded) or not is_word(self.folded[end])):
                begin_byte, end_byte, whole = self.byte_range(at, end)
                if whole and end_byte <= stop:
                    return phrase, begin_byte, end_byte, end
        return None

    def matches(self, begin, stop):
        """Leftmost, longest, within bytes [begin, stop)."""
        place = bisect.bisect_left(self.origin, begin, key=lambda c: self.bytes_before[c])
        while True:
            match = self.pattern.search(self.folded, place)
            if match is None or self.bytes_before[self.origin[match.start()]] >= stop:
                return
            begin_byte, end_byte, whole = self.byte_range(*match.span())
            if whole and end_byte <= stop:
                yield match.group(), begin_byte, end_byte
                place = match.end()
                continue
            shorter = self.longest_within(match.start(), stop) if self.byte_range(match.start(), match.start() + 1)[0] >= begin else None
            if shorter is None:
                place = match.start() + 1
            else:
                yield shorter[:3]
                place = shorter[3]


class Tokens:
    def __init__(self, path):
        with h5py.File(path) as f:
            self.ids = f["tokens"][:].tolist()
            self.begin, self.end = f["byte_begin"][:].tolist(), f["byte_end"][:].tolist()
            self.offsets, self.document = f["context_offsets"][:].tolist(), f["context_document"][:].tolist()
            self.bos = int(f.attrs["bos_id"])

    def rows(self, context):
        first, end = self.offsets[context], self.offsets[context + 1]
        return range(first + (1 if first < end and self.ids[first] == self.bos else 0), end)

    def byte_range(self, context, raw):
        """The bytes of whole characters in a context: a character's first bytes may be tokens with no range of their own."""
        rows = self.rows(context)
        begin, stop = self.begin[rows[0]], self.end[rows[-1]]
        if context > 0 and self.document[context - 1] == self.document[context] and len(self.rows(context - 1)):
            last = self.rows(context - 1)[-1]
            if self.begin[last] == self.end[last] == begin:  # the character began in the context before
                begin += 1
                while begin < len(raw) and raw[begin] & 0xC0 == 0x80:
                    begin += 1
        return begin, stop

    def span(self, context, begin, stop, raw):
        touching = [r for r in self.rows(context) if (self.begin[r] < stop and self.end[r] > begin) or (self.begin[r] == self.end[r] and begin <= self.begin[r] < stop)]
        first, last = touching[0], touching[-1]
        around = raw[self.begin[first]:begin] + raw[stop:self.end[last]] if self.end[first] > self.begin[first] else raw[stop:self.end[last]]
        before = first - 1
        if before in self.rows(context) and raw[self.begin[before]:self.end[before]] == b" " and self.end[before] == begin == self.begin[first]:
            first = before
        return first, last + 1, bool(around.strip(b" \t\r\n"))


def main():
    for at in range(1, len(sys.argv), 5):
        write_occurrences(*sys.argv[at:at + 5])


def write_occurrences(tokens_path, documents_path, concepts, out, case):
    fold_case = case != "--keep-case"
    phrases, silent = read_phrases(concepts, fold_case)
    number = {key: i for i, key in enumerate(phrases)}
    longest_first = sorted(phrases + silent, key=len, reverse=True)
    tokens = Tokens(tokens_path)
    texts = []
    for entry in open(documents_path, "rb").read().split(b"\0")[:-1]:
        begin, end, path = entry.split(b" ", 2)
        texts.append(Document(bytes_of(path)[int(begin):int(end)], fold_case))
    letters = {c for document in texts for c in document.folded}
    word = "[" + "".join(re.escape(c) for c in sorted(letters) if is_word(c)) + "]"
    pattern = re.compile(f"(?<!{word})(?:" + "|".join(map(re.escape, longest_first)) + f")(?!{word})")
    for document in texts:
        document.pattern, document.phrases = pattern, longest_first
    with open(out, "w", encoding="utf-8") as f:
        for context, document_number in enumerate(tokens.document):
            if not len(tokens.rows(context)):
                continue
            document = texts[document_number]
            for phrase, begin, stop in document.matches(*tokens.byte_range(context, document.raw)):
                if phrase not in number:
                    continue
                first, end, shares = tokens.span(context, begin, stop, document.raw)
                kind = 2 if " " in phrase else 0 if end - first == 1 else 1
                f.write(f"{first}\t{end}\t{document_number}\t{number[phrase]}\t{kind}\t{int(shares)}\n")


if __name__ == "__main__":
    main()
