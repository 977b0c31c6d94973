#!/usr/bin/env python3
"""Makes the word lists of data/concepts and their similarities from WordNet 3.0 and from how often the words occur in a text.

  scripts/make_concepts.py --text data/demo/corpus/analysis.txt MORE_TEXT...     writes concepts.tsv, senses.tsv and similarity.tsv
  scripts/make_concepts.py --table data/demo/corpus/analysis.txt                 counts the lists that are there in a text

data/concepts/recipe.toml says which parts of WordNet make which concept; data/concepts/README.md states the rules. Of the texts of --text
the first is the one in which the concepts must be measurable. Needs numpy, and for --text WordNet's dictionary files: apt install
wordnet-base wordnet-sense-index. Exit status: 0 done, 65 a recipe, list or text that does not do, 66 a missing file.
"""
import argparse
import collections
import math
import pathlib
import re
import sys
import tomllib

import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "data" / "concepts"
WORDNET = pathlib.Path("/usr/share/wordnet")
NOUN = "1"                       # part of speech in a sense key
WORD = re.compile(r"[^\W_]+")    # a word is a run of letters and digits; all else, an underscore too, is a boundary
SINGLE, MULTI = 48, 12           # most phrases of one word, and of several, in a concept: 60 together
OCCURRENCES, PHRASES = 30, 8     # what makes a concept measurable


class Bad(Exception):
    """What the user is told."""


class WordNet:
    """The nouns of WordNet 3.0. A synset is named by its offset in data.noun; hypernyms include those of instances."""

    def __init__(self, folder=WORDNET):
        self.lemmas, self.hypernyms, self.hyponyms = {}, {}, collections.defaultdict(list)
        self.senses, self.tags, self.lemma_tags = {}, collections.Counter(), collections.Counter()
        self.irregular = collections.defaultdict(list)  # plurals by singular
        self._nouns(folder / "data.noun")
        for line in self._lines(folder / "index.noun"):
            fields = line.split()
            self.senses[fields[0]] = [int(x) for x in fields[-int(fields[2]):]]
        for line in self._lines(folder / "index.sense"):
            key, offset, _, count = line.split()
            lemma, rest = key.split("%")
            self.lemma_tags[lemma] += int(count)
            if rest[0] == NOUN:
                self.tags[lemma, int(offset)] += int(count)
        for line in self._lines(folder / "noun.exc"):
            plural, *singulars = line.split()
            for singular in singulars:
                self.irregular[singular].append(plural)
        self._ancestors = {}

    @staticmethod
    def _lines(path):
        try:
            return [line for line in path.read_text(encoding="latin-1").split("\n") if line and line[0] != " "]
        except FileNotFoundError:
            raise Bad(f"there is no {path}; install wordnet-base and wordnet-sense-index, or give --wordnet FOLDER") from None

    def _nouns(self, path):
        for line in self._lines(path):
            fields = line.split(" | ")[0].split()
            offset, words = int(fields[0]), int(fields[3], 16)
            self.lemmas[offset] = fields[4:4 + 2 * words:2]
            pointers = fields[5 + 2 * words:]
            self.hypernyms[offset] = [int(o) for kind, o in zip(pointers[::4], pointers[1::4]) if kind in ("@", "@i")]
        for synset, parents in self.hypernyms.items():
            for parent in parents:
                self.hyponyms[parent].append(synset)

    def synset(self, name):
        """The offset of a synset that is named as in dog.n.01."""
        lemma, _, number = name.rsplit(".", 2)
        senses = self.senses.get(lemma.lower(), [])
        if int(number) > len(senses):
            raise Bad(f"WordNet has no noun synset {name}")
        return senses[int(number) - 1]

    def name(self, synset):
        lemma = self.lemmas[synset][0].lower()
        return f"{lemma}.n.{self.senses[lemma].index(synset) + 1:02d}"

    def tree(self, roots, cut=()):
        """The synsets at and below the roots, without those at and below `cut`."""
        found, waiting = set(), list(roots)
        while waiting:
            synset = waiting.pop()
            if synset not in found and synset not in cut:
                found.add(synset)
                waiting += self.hyponyms.get(synset, [])
        return found

    def ancestors(self, synset):
        """Each synset above, and the synset itself, with its distance along hypernyms."""
        if synset not in self._ancestors:
            distance, level, steps = {}, [synset], 0
            while level:
                fresh = [s for s in dict.fromkeys(level) if s not in distance]
                distance.update((s, steps) for s in fresh)
                level, steps = [p for s in fresh for p in self.hypernyms[s]], steps + 1
            self._ancestors[synset] = distance
        return self._ancestors[synset]

    def depth(self, synset):
        """Nodes on the longest way up to the root, both ends counted."""
        return 1 + max((self.depth(p) for p in self.hypernyms[synset]), default=0)

    def information(self, synset):
        """Intrinsic information content (Seco, Veale and Hayes 2004): 1 - ln(hyponyms + 1) / ln(N)."""
        return 1 - math.log(len(self.tree([synset]))) / math.log(len(self.lemmas))

    def plurals(self, word):
        """What a plural of a word or, for a phrase, of its last word may be; forms that nobody writes have no occurrences."""
        forms = list(self.irregular[word.lower()])
        if word.endswith("man"):
            forms.append(word[:-3] + "men")
        if re.search(r"(s|x|z|ch|sh)$", word):
            return [*forms, word + "es"]
        if re.search(r"[^aeiou]y$", word) and word == word.lower():
            return [*forms, word[:-1] + "ies"]
        return [*forms, word + "s"]


def similarities(wordnet, synsets):
    """Matrices of Lin, path and Wu-Palmer similarity between synsets, each as similarity.tsv names it.

    Lin: 2 IC(a) / (IC(s) + IC(t)), a the common ancestor with most information. Path: 1 / (1 + shortest way over a common ancestor).
    Wu-Palmer: 2 D(a) / (2 D(a) + ways from s and t up to a), a the deepest common ancestor (of several that of the greatest value), D its
    depth.
    """
    n = len(synsets)
    common, way, wup = np.zeros((n, n)), np.full((n, n), np.inf), np.zeros((n, n))
    below = collections.defaultdict(list)
    for i, synset in enumerate(synsets):
        for ancestor, distance in wordnet.ancestors(synset).items():
            below[ancestor].append((i, distance))
    deepest = np.zeros((n, n), dtype=int)
    for ancestor, members in below.items():
        index, distance = (np.array(x) for x in zip(*members))
        both, steps, depth = np.ix_(index, index), distance[:, None] + distance[None, :], wordnet.depth(ancestor)
        common[both] = np.maximum(common[both], wordnet.information(ancestor))
        way[both] = np.minimum(way[both], steps)
        value = 2 * depth / (2 * depth + steps)
        wup[both] = np.where(depth > deepest[both], value, np.where(depth == deepest[both], np.maximum(wup[both], value), wup[both]))
        deepest[both] = np.maximum(deepest[both], depth)
    own = np.array([wordnet.information(s) for s in synsets])
    total = own[:, None] + own[None, :]
    return {"lin": np.divide(2 * common, total, out=np.zeros((n, n)), where=total > 0), "path": 1 / (1 + way), "wup": wup}


class Text:
    """How often words and phrases occur in a text, as written and without regard to case."""

    def __init__(self, path):
        try:
            self.text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise Bad(f"there is no text {path}") from None
        except UnicodeDecodeError:
            raise Bad(f"{path} is not UTF-8") from None

    def counts(self, phrases, fold, longest):
        """Occurrences at word boundaries of each phrase. longest: of occurrences that overlap only the longest one at the leftmost place
        counts; else each phrase is counted as if it stood alone."""
        by_first = collections.defaultdict(list)
        key = str.lower if fold else str
        for phrase in sorted(phrases, key=lambda p: (-len(p), p)):
            by_first[key(WORD.match(phrase).group())].append(phrase)
        found, end = collections.Counter(), 0
        for match in WORD.finditer(self.text):
            if match.start() < end:
                continue
            for phrase in by_first.get(key(match.group()), ()):
                stop = match.start() + len(phrase)
                if key(self.text[match.start():stop]) == key(phrase) and not WORD.match(self.text, stop):
                    found[phrase] += 1
                    if longest:
                        end = stop
                        break
        return found


class Phrase:
    """A candidate: how it is written, the entry of WordNet that it is a form of, and the entry's first sense inside the concept."""

    def __init__(self, text, entry, synset, first, note=""):
        self.text, self.entry, self.synset, self.first, self.note = text, entry, synset, first, note
        self.weight = 1


def entries_of(wordnet, tree):
    """The entries below a concept with their best-ranked sense there: (as written, key, synset, whether it is the first sense)."""
    for synset in sorted(tree):
        for lemma in wordnet.lemmas[synset]:
            senses = wordnet.senses[lemma.lower()]
            inside = [s for s in senses if s in tree and lemma in wordnet.lemmas[s]]
            if inside[0] == synset:
                yield lemma, lemma.lower(), synset, senses[0] == synset


def by_word(reasons):
    return {word: reason for reason, words in reasons.items() for word in words}


def candidates(wordnet, concept):
    """Phrases that WordNet offers for a concept, before any count."""
    tree = wordnet.tree(map(wordnet.synset, concept["roots"]), set(map(wordnet.synset, concept.get("cut", []))))
    also, drop, zero = set(concept.get("also", [])), by_word(concept.get("drop", {})), by_word(concept.get("zero", {}))
    found = {}

    def offer(text, entry, synset, first):
        given = text in also or text in zero
        if text in drop or text in found or not (given or suits(wordnet, tree, entry, first) and len(text) > 2 and WORD.match(text)):
            return
        if concept.get("names") is not None and (text != text.lower()) != concept["names"] and not given:
            return
        found[text] = Phrase(text, entry, synset, first, zero.get(text, "taken by hand" if given and not first else ""))
        found[text].weight = 0 if text in zero else 1

    entries = list(entries_of(wordnet, tree))
    for lemma, entry, synset, first in entries:
        offer(lemma.replace("_", " "), entry, synset, first)
    for lemma, entry, synset, first in entries:
        text = lemma.replace("_", " ")
        for plural in wordnet.plurals(text):
            other = wordnet.senses.get(plural.lower().replace(" ", "_"), [])
            means_it = not other or other[0] in tree  # "customs" is no plural of "custom"
            if plural in also or (text in found and text not in zero and means_it):
                offer(plural, entry, synset, first)
    words = {lemma.replace("_", " ") for lemma, *_ in entries}
    missing = {*also, *drop, *zero} - words - {plural for word in words for plural in wordnet.plurals(word)}
    if missing:
        raise Bad(f"recipe: {concept['name']} names words that WordNet does not have below its roots: {', '.join(sorted(missing))}")
    return found


def suits(wordnet, tree, entry, first):
    """Whether the entry means the concept: its first noun sense does, and at least half of its tagged uses in all parts of speech."""
    inside = sum(wordnet.tags[entry, s] for s in wordnet.senses[entry] if s in tree)
    return first and 2 * inside >= wordnet.lemma_tags[entry]


def chosen(concept, found, counts):
    """The most frequent candidates. counts: for each text, occurrences (as written, case ignored)."""
    also = {*concept.get("also", []), *by_word(concept.get("zero", {}))}
    rows = []
    for text in found:
        exact, folded = (sum(c[kind][text] for c in counts) for kind in (0, 1))
        proper = text != text.lower()
        # A name is also a common word, or a common word mostly a name or a title: neither is what the list means.
        clear = exact >= 0.9 * folded if proper else 2 * exact >= folded
        total = exact if proper else folded
        demo = counts[0][0 if proper else 1][text]
        if text in also or (clear and total >= concept.get("least", 25) and demo >= 2):
            rows.append((-total, text, text in also))
    rows.sort()
    single = [r for r in rows if " " not in r[1]]
    keep = [r for r in single if r[2]]
    keep += [r for r in single if not r[2]][:SINGLE - len(keep)] + [r for r in rows if " " in r[1]][:MULTI]
    return [found[text] for _, text, _ in sorted(keep)]


def read_recipe(path):
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Bad(f"there is no {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise Bad(f"{path}: {error}") from None


def make(wordnet, recipe, texts):
    """Concepts with their phrases: a list of (group, name, phrases)."""
    concepts, offered = recipe["concept"], []
    for concept in concepts:
        offered.append(candidates(wordnet, concept))
    everything = {text for found in offered for text in found}
    counts = [(t.counts(everything, False, False), t.counts(everything, True, False)) for t in texts]
    lists = [(c["group"], c["name"], chosen(c, found, counts)) for c, found in zip(concepts, offered)]
    owner, twice = {}, []
    for _, name, phrases in lists:
        for phrase in phrases:
            other = owner.setdefault(phrase.text.lower(), name)
            if other != name:
                twice.append(f"{phrase.text} ({other}, {name})")
    if twice:
        raise Bad(f"recipe: words in two concepts; give each to one by drop or cut: {', '.join(twice)}")
    return lists


def matched(matrix, ours, theirs):
    """Mean over both lists of each word's best match in the other. A word is a list of rows of the matrix; its best row counts."""
    starts = [np.cumsum([0, *map(len, words[:-1])]) for words in (ours, theirs)]
    pairs = matrix[np.ix_(sum(ours, []), sum(theirs, []))]
    best = np.maximum.reduceat(np.maximum.reduceat(pairs, starts[0], axis=0), starts[1], axis=1)
    return (best.max(axis=1).mean() + best.max(axis=0).mean()) / 2


def similarity_rows(wordnet, lists):
    """Similarities of each pair of concepts, words of weight 0 left out: over all noun senses, then over the concept's sense alone."""
    entries = {name: dict(sorted((p.entry, p.synset) for p in phrases if p.weight)) for _, name, phrases in lists}
    synsets = sorted({s for words in entries.values() for e in words for s in wordnet.senses[e]})
    at = {s: i for i, s in enumerate(synsets)}
    every = {name: [[at[s] for s in wordnet.senses[e]] for e in words] for name, words in entries.items()}
    meant = {name: [[at[s]] for s in words.values()] for name, words in entries.items()}
    matrices = similarities(wordnet, synsets)
    names = list(entries)
    for i, a in enumerate(names):
        for b in names[i + 1:]:
            values = [matched(m, rows[a], rows[b]) for rows in (every, meant) for m in matrices.values()]
            yield [a, b, *(f"{v:.6f}" for v in values)]


def write_table(path, header, rows):
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in [header, *rows]), encoding="utf-8")


def read_table(path):
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise Bad(f"there is no {path}") from None
    return [dict(zip(header.split("\t"), line.split("\t"))) for line in lines]


def print_table(folder, path):
    """Counts of the lists in a text, longest match wins, weight 0 left out. Returns the concepts that are not measurable there."""
    rows = [r for r in read_table(folder / "concepts.tsv") if float(r["weight"]) > 0]
    first = {r["phrase"]: r["first"] == "1" for r in read_table(folder / "senses.tsv")}
    text = Text(path)
    folded, exact = (text.counts([r["phrase"] for r in rows], fold, True) for fold in (True, False))
    print("group", "concept", "phrases", "of several words", "that occur", "occurrences", "as written", "of several words", "first sense",
          "of occurrences", sep="\t")
    poor = []
    for concept in dict.fromkeys(r["concept"] for r in rows):
        phrases = [r["phrase"] for r in rows if r["concept"] == concept]
        several = [p for p in phrases if len(WORD.findall(p)) > 1]
        total, written = sum(folded[p] for p in phrases), sum(exact[p] for p in phrases)
        occur = sum(exact[p] > 0 for p in phrases)
        if min(total, written) < OCCURRENCES or occur < PHRASES:
            poor.append(concept)
        group = next(r["group"] for r in rows if r["concept"] == concept)
        share = sum(first[p] for p in phrases) / len(phrases)
        weighed = sum(folded[p] for p in phrases if first[p]) / max(total, 1)
        print(group, concept, len(phrases), len(several), sum(folded[p] > 0 for p in phrases), total, written,
              sum(folded[p] for p in several), f"{share:.2f}", f"{weighed:.2f}", sep="\t")
    return poor


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", nargs="+", type=pathlib.Path, help="texts to count in; the concepts must be measurable in the first")
    parser.add_argument("--table", type=pathlib.Path, metavar="TEXT", help="only print how often the lists occur in this text")
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER, help="where recipe.toml lies and the lists go")
    parser.add_argument("--wordnet", type=pathlib.Path, default=WORDNET, help="folder of data.noun, index.noun, index.sense and noun.exc")
    arguments = parser.parse_args()
    if bool(arguments.text) == bool(arguments.table):
        parser.error("give --text TEXT..., or --table TEXT")
    if arguments.text:
        wordnet = WordNet(arguments.wordnet)
        recipe = read_recipe(arguments.folder / "recipe.toml")
        lists = make(wordnet, recipe, [Text(path) for path in arguments.text])
        write_table(arguments.folder / "concepts.tsv", ["group", "concept", "phrase", "weight"],
                    [(group, name, p.text, p.weight) for group, name, phrases in lists for p in phrases])
        write_table(arguments.folder / "senses.tsv", ["concept", "phrase", "entry", "synset", "first", "note"],
                    [(name, p.text, p.entry, wordnet.name(p.synset), int(p.first), p.note) for _, name, phrases in lists for p in phrases])
        write_table(arguments.folder / "similarity.tsv", ["concept", "other", "lin", "path", "wup", "lin_meant", "path_meant", "wup_meant"],
                    similarity_rows(wordnet, lists))
    poor = print_table(arguments.folder, arguments.table or arguments.text[0])
    if poor:
        raise Bad(f"fewer than {OCCURRENCES} occurrences or {PHRASES} phrases that occur: {', '.join(poor)}")


if __name__ == "__main__":
    try:
        main()
    except Bad as error:
        print(f"make_concepts: error: {error}", file=sys.stderr)
        sys.exit(66 if str(error).startswith("there is no ") else 65)
