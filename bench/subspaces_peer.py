"""What `concord subspaces` does for the members of concepts, by re, scipy, scikit-learn and numpy: for bench/subspaces.py.

Texts are cut into words by re and looked up (an alternation of all phrases takes 20 times as long). AUCs of all features and concepts come from one sort of the
sparse values and sums over labels; what roc_auc_score for each of 16,384 x 50 x 21 would take is estimated from a few. Random numbers are concord's, so that results can be compared.
"""
import re
import time

import h5py
import numpy as np
import scipy.sparse
import xxhash
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

U64 = np.uint64
MASK = (1 << 64) - 1


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


class Philox:
    """concord/core/philox.hpp."""

    def __init__(self, seed, purpose, a=0, b=0):
        self.key = mix((seed + 0x9E3779B97F4A7C15) & MASK) ^ xxhash.xxh3_64_intdigest(purpose.encode())
        self.high = mix((mix((a + 0x632BE59BD9B4E019) & MASK) + b) & MASK)

    def bits(self, i):
        i = np.asarray(i, U64)
        low32, shift = U64(0xFFFFFFFF), U64(32)
        c = [i & low32, i >> shift, np.full_like(i, self.high & 0xFFFFFFFF), np.full_like(i, self.high >> 32)]
        k = [self.key & 0xFFFFFFFF, self.key >> 32]
        for _ in range(10):
            p0, p1 = U64(0xD2511F53) * c[0], U64(0xCD9E8D57) * c[2]
            c = [(p1 >> shift) ^ c[1] ^ U64(k[0]), p1 & low32, (p0 >> shift) ^ c[3] ^ U64(k[1]), p0 & low32]
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        return c[0] | (c[1] << shift)

    def below(self, i, n):
        """n below 2^32."""
        bits, n = self.bits(i), np.asarray(n, U64)
        return (((bits >> U64(32)) * n + (((bits & U64(0xFFFFFFFF)) * n) >> U64(32))) >> U64(32)).astype(np.int64)

    def shuffled(self, n):
        order = np.arange(n)
        draws = self.below(np.arange(1, n), np.arange(2, n + 1)) if n > 1 else []
        for i in range(n - 1, 0, -1):
            order[i], order[draws[i - 1]] = order[draws[i - 1]], order[i]
        return order


def find_occurrences(path, phrases, bos):
    """First row, end row and phrase of each, in the order of the corpus."""
    numbers = {text: i for i, (_, text) in enumerate(phrases)}
    starts = {text.split(" ")[0] for text in numbers if " " in text}
    word = re.compile(r"\w+")
    found = []
    with h5py.File(path) as f:
        ends = f["pieces/ends"][:]
        raw = f["pieces/bytes"][:].tobytes()
        pieces = [raw[b:e].decode().replace("▁", " ") for b, e in zip(np.r_[0, ends[:-1]], ends)]
        pieces[bos] = "\n\n"
        lengths = np.array([len(p) for p in pieces])
        offsets, ids = f["context_offsets"][:], f["tokens"]
        for c in range(0, len(offsets) - 1, 8192):
            first = offsets[c]
            part = ids[first:offsets[min(c + 8192, len(offsets) - 1)]]
            text = "".join([pieces[i] for i in part.tolist()]).lower()
            places, before, before_end = [], None, -1
            for match in word.finditer(text):
                now, begin = match.group(), match.start()
                if before is not None and begin == before_end + 1 and before + " " + now in numbers:
                    places.append((before_begin, match.end(), numbers[before + " " + now]))
                elif now in numbers:
                    places.append((begin, match.end(), numbers[now]))
                before, before_begin, before_end = (now, begin, match.end()) if now in starts else (None, 0, -1)
            places = np.array(places, np.int64).reshape(-1, 3)
            token_ends = np.cumsum(lengths[part])
            found.append(np.stack([first + np.searchsorted(token_ends, places[:, 0], "right"), first + np.searchsorted(token_ends, places[:, 1]) + 1, places[:, 2]], 1))
    return np.concatenate(found), offsets


class Spans:
    """The spans that are looked at, ascending: occurrences drawn by lot, and random ones beside them."""

    def __init__(self, occurrences, offsets, phrases, most, seed):
        concept_of = np.array([c for c, _ in phrases])
        lots = Philox(seed, "occurrences").bits(occurrences[:, 0])
        order = np.lexsort((occurrences[:, 0], lots, occurrences[:, 2]))
        phrase = occurrences[order, 2]
        first = np.searchsorted(phrase, phrase)
        chosen = occurrences[order[np.arange(len(order)) - first < most]]
        beside = self.random_spans(chosen, occurrences, offsets, seed)
        both = np.concatenate([chosen, beside])
        is_random = np.r_[np.zeros(len(chosen), bool), np.ones(len(beside), bool)]
        order = np.lexsort((both[:, 2], concept_of[both[:, 2]], is_random, both[:, 1], both[:, 0]))
        self.begin, self.end, self.phrase = both[order].T
        self.random = is_random[order]
        self.concept = concept_of[self.phrase]
        self.length = self.end - self.begin
        halves = self.halves(sorted(set(self.phrase.tolist())), concept_of, seed)
        self.half = np.array([halves.get(p, -1) for p in range(len(phrases))])[self.phrase]
        self.concepts = int(concept_of.max()) + 1

    @staticmethod
    def random_spans(chosen, occurrences, offsets, seed):
        random = Philox(seed, "random spans")
        own = np.searchsorted(offsets, chosen[:, 0], "right") - 1
        place = chosen[:, 0] - offsets[own]
        length = chosen[:, 1] - chosen[:, 0]
        begin = np.full(len(chosen), -1)
        for draw in range(16):
            other = random.below(chosen[:, 0].astype(U64) * U64(16) + U64(draw), len(offsets) - 1)
            at = offsets[other] + place
            behind = np.searchsorted(occurrences[:, 1], at, "right")
            hit = (behind < len(occurrences)) & (occurrences[np.minimum(behind, len(occurrences) - 1), 0] < at + length)
            good = (begin < 0) & (other != own) & (at + length <= offsets[other + 1]) & ~hit
            begin[good] = at[good]
        there = begin >= 0
        return np.stack([begin, begin + length, chosen[:, 2]], 1)[there]

    @staticmethod
    def halves(phrases, concept_of, seed):
        random = Philox(seed, "phrase halves")
        lots = dict(zip(phrases, random.bits(np.array(phrases)).tolist()))
        half, count, now, first = {}, [0, 0], -1, 0
        for phrase in sorted(phrases, key=lambda p: (concept_of[p], lots[p], p)):
            if concept_of[phrase] != now:
                now, count = concept_of[phrase], [0, 0]
                first = int(random.bits((1 << 32) + int(now))) & 1
            half[phrase] = first if count[0] == count[1] else int(count[0] > count[1])
            count[half[phrase]] += 1
        return half

    def dealt_anew(self, seed, draw):
        """Concepts of the spans; -1 on the half that is not chosen on."""
        here = ~self.random & (self.half == 0)
        phrases, first = np.unique(self.phrase[here], return_index=True)  # all spans of a phrase have one length here
        length, concept = self.length[here][first], self.concept[here][first]
        dealt = np.full(self.phrase.max() + 1, -1)
        for n in np.unique(length):
            of, concepts = phrases[length == n], concept[length == n]
            dealt[of] = concepts[Philox(seed, "phrases dealt anew", draw, int(n)).shuffled(len(of))]
        return np.where(self.half == 0, dealt[self.phrase], -1)


def load(path):
    with h5py.File(path) as f:
        layer = f["layer_000"]
        indptr = layer["indptr"][:]
        nnz = int(indptr[-1])
        return scipy.sparse.csr_matrix((layer["data"][:nnz], layer["indices"][:nnz], indptr), shape=(len(indptr) - 1, len(layer["count"])))


def span_values(features, spans):
    """Largest value of each feature on each span, sparse [spans, F]."""
    values = features[spans.begin]
    for j in range(1, int(spans.length.max())):
        longer = np.nonzero(spans.length > j)[0]
        more = features[spans.begin[longer] + j]
        indptr = np.zeros(len(spans.begin) + 1, np.int64)
        indptr[longer + 1] = np.diff(more.indptr)
        values = values.maximum(scipy.sparse.csr_matrix((more.data, more.indices, np.cumsum(indptr)), shape=values.shape))
    return values.tocsr()


class Ranking:
    """AUCs of all features at once: values sorted once by cell (half and length), feature and value; then sums over labels."""

    def __init__(self, values, spans, only_half=None):
        self.spans, self.width = spans, values.shape[1]
        lengths = np.unique(spans.length)
        self.cells = 2 * len(lengths)
        self.cell = spans.half * len(lengths) + np.searchsorted(lengths, spans.length)
        entries = values.tocoo()
        span, feature, value = entries.row, entries.col.astype(np.int64), entries.data
        if only_half is not None:
            keep = spans.half[span] == only_half
            span, feature, value = span[keep], feature[keep], value[keep]
        group = self.cell[span] * self.width + feature
        order = np.lexsort((value, group))
        self.span, self.feature, self.value, self.group = span[order], feature[order], value[order], group[order]
        self.random = spans.random[self.span]
        self.all_in_cell = np.bincount(self.cell[~spans.random], minlength=self.cells)
        self.rank_among_own()

    def rank_among_own(self):
        """Twice the values below and once those tied, zeros among them; of occurrences of all concepts."""
        own = ~self.random
        group, value = self.group[own], self.value[own]
        starts = np.r_[0, np.nonzero(np.diff(group))[0] + 1]
        ties = np.r_[0, np.nonzero((np.diff(group) != 0) | (np.diff(value) != 0))[0] + 1]
        counts = np.diff(np.r_[starts, len(group)])
        start = np.repeat(starts, counts)
        active = np.repeat(counts, counts)
        below = np.repeat(ties, np.diff(np.r_[ties, len(group)])) - start
        tied = np.repeat(np.diff(np.r_[ties, len(group)]), np.diff(np.r_[ties, len(group)]))
        zeros = self.all_in_cell[group // self.width] - active
        self.rank = np.zeros(len(self.group))
        self.rank[own] = 2 * (zeros + below) + tied
        self.zeros = (self.all_in_cell[:, None] - np.bincount(group, minlength=self.cells * self.width).reshape(self.cells, self.width)).astype(np.float64)

    def auc(self, concept, half):
        """[against concepts, against random][C, F]"""
        c_count, f = self.spans.concepts, self.width
        twice_u = np.zeros((2, c_count, f))
        pairs = np.zeros((2, c_count, 1))
        label = concept[self.span]
        for cell in range(half * self.cells // 2, (half + 1) * self.cells // 2):
            begin, end = np.searchsorted(self.group, [cell * f, (cell + 1) * f])
            here = (self.cell == cell) & (concept >= 0)
            n_own = np.bincount(concept[here & ~self.spans.random], minlength=c_count).astype(np.float64)[:, None]
            n_random = np.bincount(concept[here & self.spans.random], minlength=c_count).astype(np.float64)[:, None]
            of, feature, random, value = label[begin:end].astype(np.int64), self.feature[begin:end], self.random[begin:end], self.value[begin:end]
            place = of * f + feature
            own_place = place[~random]
            zeros_own = n_own - np.bincount(own_place, minlength=c_count * f).reshape(c_count, f)
            zeros_random = n_random - np.bincount(place[random], minlength=c_count * f).reshape(c_count, f)
            twice_u[0] += np.bincount(own_place, self.rank[begin:end][~random], c_count * f).reshape(c_count, f) + zeros_own * self.zeros[cell] - n_own ** 2
            order = np.argsort(of.astype(np.int16), kind="stable")
            place, random, value = place[order], random[order], value[order]
            groups = np.r_[True, np.diff(place) != 0]
            ties = groups | np.r_[True, np.diff(value) != 0]
            below = np.r_[0, np.cumsum(random)]
            tie_starts = np.nonzero(ties)[0]
            tie_ends = np.r_[tie_starts[1:], len(place)]
            tie = np.cumsum(ties) - 1
            group_start = np.nonzero(groups)[0][np.cumsum(groups) - 1]
            above = below[tie_starts] + below[tie_ends]
            rank = (above[tie] - 2 * below[group_start])[~random]
            place = place[~random]
            twice_u[1] += np.bincount(place, rank + 2 * zeros_random.ravel()[place], c_count * f).reshape(c_count, f) + zeros_own * zeros_random
            pairs[0] += n_own * (self.all_in_cell[cell] - n_own)
            pairs[1] += n_own * n_random
        with np.errstate(invalid="ignore", divide="ignore"):
            return twice_u / (2 * pairs)


BINS = 2000


def reached(auc, hit):
    """How many features reach each bin of AUCs, a concept."""
    counts = np.zeros((len(auc), BINS + 1))
    c, f = np.nonzero(hit)
    np.add.at(counts, (c, (auc[c, f] * BINS).astype(int)), 1)
    return counts[:, ::-1].cumsum(1)[:, ::-1]


def candidates_of(values, spans, o):
    """For each concept its candidates in falling order of AUC, and their scales; the AUCs of all on both halves."""
    ranking = Ranking(values, spans)
    aucs = [ranking.auc(spans.concept, half) for half in (0, 1)]
    strength = np.minimum(aucs[0][0], aucs[0][1])
    here = ~ranking.random & (spans.half[ranking.span] == 0)
    pairs = np.unique(spans.phrase[ranking.span[here]] * ranking.width + ranking.feature[here])
    concept_of = np.zeros(spans.phrase.max() + 1, np.int64)
    concept_of[spans.phrase] = spans.concept
    covered = np.bincount(concept_of[pairs // ranking.width] * ranking.width + pairs % ranking.width, minlength=spans.concepts * ranking.width)
    own0 = ~spans.random & (spans.half == 0)
    n_phrases = np.array([len(np.unique(spans.phrase[own0 & (spans.concept == c)])) for c in range(spans.concepts)])
    good = (strength >= o.min_auc) & (covered.reshape(spans.concepts, -1) / n_phrases[:, None] >= o.min_coverage)
    found = reached(strength, good)
    half0 = Ranking(values, spans, 0)
    chance = np.zeros_like(found)
    for draw in range(o.label_draws):
        auc = half0.auc(spans.dealt_anew(o.seed, draw), 0)
        least = np.minimum(auc[0], auc[1])
        chance += reached(least, least >= o.min_auc)
    first = spans.half[ranking.span] == 0
    scale = np.bincount(ranking.feature[first], ranking.value[first].astype(np.float64), ranking.width) / np.maximum(1, np.bincount(ranking.feature[first], minlength=ranking.width))
    order = np.argsort(n_phrases, kind="stable")
    lists = []
    for c in range(spans.concepts):
        i = int(np.nonzero(order == c)[0][0])
        size = min(9, len(order))
        begin = min(i - min(i, 4), len(order) - size)
        expected = (1 + chance[order[begin:begin + size]].sum(0)) / (o.label_draws * size)
        rate = np.minimum(1, expected / np.maximum(1, found[c]))
        least_bin = int(o.min_auc * BINS)
        features = np.nonzero(good[c])[0]
        q = np.array([rate[least_bin:int(strength[c, f] * BINS) + 1].min() for f in features])
        features = features[q <= o.max_q] if len(features) else features
        lists.append(features[np.lexsort((features, -strength[c, features]))][:o.max_members])
    return lists, scale, aucs


class OneConcept:
    """Greedy choice among candidates by the AUC of the sum of their values, and probes."""

    def __init__(self, columns, spans, concept, lengths, scale):
        self.keep = ~(spans.random & (spans.concept != concept))
        self.own = (spans.concept == concept)[self.keep]
        self.random, self.half = spans.random[self.keep], spans.half[self.keep]
        self.length = np.searchsorted(lengths, spans.length[self.keep])
        self.lengths = len(lengths)
        self.values = (columns[self.keep].toarray() / scale.astype(np.float32)).astype(np.float32).T.copy()
        self.parts = {half: self.part(half) for half in (0, 1)}

    def part(self, half):
        """Places and kinds (own 0, others 1, random 2) of the spans of each length."""
        return [(np.nonzero(there)[0], np.where(self.random, 2, np.where(self.own, 0, 1))[there])
                for there in ((self.half == half) & (self.length == n) for n in range(self.lengths))]

    def auc(self, sums, half):
        twice_u, pairs = np.zeros(2), np.zeros(2)
        for places, kind in self.parts[half]:
            value = sums[places]
            counts = np.bincount(kind, minlength=3).astype(np.float64)
            pairs += counts[0] * counts[1:]
            active = np.nonzero(value)[0]
            active = active[np.argsort(value[active])]
            value, of = value[active], kind[active]
            zeros = counts - np.bincount(of, minlength=3)
            starts = np.r_[True, np.diff(value) != 0][:len(value)]
            start = np.nonzero(starts)[0]
            end = np.r_[start[1:], len(value)].astype(int)
            own = of == 0
            tie = (np.cumsum(starts) - 1)[own]
            for k in (0, 1):
                below = np.r_[0, np.cumsum(of == k + 1)]
                twice_u[k] += zeros[0] * zeros[k + 1] + (below[start] + below[end])[tie].sum() + 2 * zeros[k + 1] * own.sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(np.nanmean(twice_u / (2 * pairs)))

    def choose(self, most, k):
        chosen, sums, so_far, held = [], np.zeros(len(self.own), np.float32), 0.5, []
        while len(chosen) < most:
            scores = [-1 if i in chosen else self.auc(sums + self.values[i], 0) for i in range(len(self.values))]
            best = int(np.argmax(scores)) if scores else -1
            if best < 0 or scores[best] < 0 or (scores[best] <= so_far and len(chosen) >= k):
                break
            chosen.append(best)
            sums = sums + self.values[best]
            so_far = scores[best]
            held.append(self.auc(sums, 1))
        return chosen, held, [self.probe(chosen[:n]) if len(chosen) >= n else np.nan for n in (1, 2, 5)]

    def probe(self, members):
        x = self.values[members].T
        fitted, told = (self.half == 0) & ~self.random, (self.half == 1) & ~self.random
        scores = x @ LogisticRegression(C=100, tol=1e-8).fit(x[fitted], self.own[fitted]).coef_[0]
        u = pairs = 0.0
        for n in range(self.lengths):  # spans of one length are compared
            of = told & (self.length == n)
            own = float(self.own[of].sum())
            compared = own * (of.sum() - own)
            if compared:
                u, pairs = u + compared * roc_auc_score(self.own[of], scores[of]), pairs + compared
        return u / pairs


def plain_seconds(values, spans, o):
    """What roc_auc_score would take for every feature, concept and deal, both kinds of others, from 40 calls; lengths together."""
    rng = np.random.default_rng(0)
    first = spans.half == 0
    columns = values[first].tocsc()
    own, random, concept = ~spans.random[first], spans.random[first], spans.concept[first]
    begin = time.perf_counter()
    calls = 20
    for _ in range(calls):
        scores = columns[:, [int(rng.integers(values.shape[1]))]].toarray().ravel()
        of = concept == rng.integers(spans.concepts)
        for compared in (own, of):
            roc_auc_score(of[compared] & own[compared], scores[compared])
    return (time.perf_counter() - begin) / calls * values.shape[1] * spans.concepts * (o.label_draws + 1)


def run(tokens, features, phrases, bos, o):
    """CPU seconds of each part, which neighbours on the machine change less than its time, and what was found, of both layers."""
    seconds = dict.fromkeys(("occurrences", "loading", "values", "membership", "members"), 0.0)

    def timed(part, work):
        begin = time.process_time()
        result = work()
        seconds[part] += time.process_time() - begin
        return result

    occurrences, offsets = timed("occurrences", lambda: find_occurrences(tokens, phrases, bos))
    spans = timed("occurrences", lambda: Spans(occurrences, offsets, phrases, o.phrase_occurrences, o.seed))
    lengths = np.unique(spans.length)
    sides = []
    for path in features:
        matrix = timed("loading", lambda: load(path))
        values = timed("values", lambda: span_values(matrix, spans))
        del matrix
        lists, scale, aucs = timed("membership", lambda: candidates_of(values, spans, o))
        columns = values.tocsc()
        chosen = timed("members", lambda: [(c, f, OneConcept(columns[:, f], spans, c, lengths, scale[f]).choose(o.max_members, o.k)) for c, f in enumerate(lists)])
        sides.append({"members": [f[m].tolist() for _, f, (m, _, _) in chosen], "held": [h for _, _, (_, h, _) in chosen], "probes": [p for _, _, (_, _, p) in chosen],
                      "auc": [[[[aucs[half][kind][c, f[i]] for kind in (0, 1)] for half in (0, 1)] for i in m] for c, f, (m, _, _) in chosen]})
    seconds_plain = 2 * plain_seconds(values, spans, o)
    counts = np.bincount(occurrences[:, 2], minlength=len(phrases))
    return seconds, {"plain": seconds_plain, "occurrences": counts.tolist(), "spans": len(spans.begin), "sides": sides}
