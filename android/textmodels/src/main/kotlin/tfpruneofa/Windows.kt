package tfpruneofa

/**
 * A question with a part of its text: [CLS] question [SEP] part [SEP].
 *
 * @property ids of the pieces.
 * @property typeIds 1 for the part and its [SEP].
 * @property starts first character of the text that each piece covers; -1 for the question.
 * @property ends behind its last one.
 * @property isCentral whether no other window shows the piece with more text around it. Answers
 *     begin at such pieces only.
 */
class Window(
    val ids: IntArray,
    val typeIds: IntArray,
    val starts: IntArray,
    val ends: IntArray,
    val isCentral: BooleanArray,
) {
    val size: Int get() = ids.size
}

/** Texts as a model's inputs; the same as the package's `text.wordpiece` and `text.windows`. */
class Encoder(private val wordPiece: WordPiece, private val sequenceLength: Int) {
    /** A text, or a pair of texts, cut to the sequence length: ids and type ids. */
    fun encode(text: String, pair: String? = null): Pair<IntArray, IntArray> {
        val first = wordPiece.tokenize(text).ids
        val cls = intArrayOf(wordPiece.clsId)
        val sep = intArrayOf(wordPiece.sepId)
        if (pair == null) {
            val kept = first.copyOf(minOf(first.size, sequenceLength - 2))
            return Pair(cls + kept + sep, IntArray(kept.size + 2))
        }
        val second = wordPiece.tokenize(pair).ids
        val (a, b) = lengths(first.size, second.size, sequenceLength - 3)
        val ids = cls + first.copyOf(a) + sep + second.copyOf(b) + sep
        return Pair(ids, IntArray(ids.size) { if (it < a + 2) 0 else 1 })
    }

    /**
     * A question and its text as windows that overlap.
     *
     * @throws IllegalArgumentException the question leaves no room for the text.
     */
    fun windows(question: String, text: String, settings: TextSettings): List<Window> {
        val all = wordPiece.tokenize(question).ids
        val asked = all.copyOf(minOf(all.size, settings.questionLength))
        val room = sequenceLength - asked.size - 3
        require(room > 0) { "A question of ${asked.size} pieces leaves no room for a text." }
        val pieces = wordPiece.tokenize(text)
        val parts = parts(pieces.size, room, minOf(settings.stride, room))
        val best = bestParts(parts, pieces.size)
        return parts.mapIndexed { index, part -> window(asked, pieces, part, index, best) }
    }

    private fun window(
        asked: IntArray,
        pieces: Pieces,
        part: IntRange,
        index: Int,
        best: IntArray,
    ): Window {
        val first = asked.size + 2
        val count = part.last + 1 - part.first
        val ids = IntArray(first + count + 1) { wordPiece.sepId }
        ids[0] = wordPiece.clsId
        asked.copyInto(ids, 1)
        pieces.ids.copyInto(ids, first, part.first, part.last + 1)
        val starts = IntArray(ids.size) { -1 }
        val ends = IntArray(ids.size) { -1 }
        val isCentral = BooleanArray(ids.size)
        for (place in part) {
            starts[first + place - part.first] = pieces.starts[place]
            ends[first + place - part.first] = pieces.ends[place]
            isCentral[first + place - part.first] = best[place] == index
        }
        val types = IntArray(ids.size) { if (it < first) 0 else 1 }
        return Window(ids, types, starts, ends, isCentral)
    }

    private companion object {
        /** How much of two texts is kept: the longer one loses first, of equal ones the second. */
        fun lengths(first: Int, second: Int, room: Int): Pair<Int, Int> {
            if (first + second <= room) return Pair(first, second)
            val half = room / 2
            if (second <= half) return Pair(room - second, second)
            if (first <= room - half) return Pair(first, room - first)
            return Pair(room - half, half)
        }

        /** The pieces of each window; at least one window, empty where there is no text. */
        fun parts(count: Int, room: Int, stride: Int): List<IntRange> {
            val parts = arrayListOf(0 until minOf(room, count))
            while (parts.last().last + 1 < count) {
                val begin = parts.last().first + stride
                parts.add(begin until minOf(begin + room, count))
            }
            return parts
        }

        /** For each piece the window that shows the most text around it; of equal ones the first. */
        fun bestParts(parts: List<IntRange>, count: Int): IntArray {
            val best = IntArray(count)
            val most = DoubleArray(count) { -1.0 }
            parts.forEachIndexed { index, part ->
                for (place in part) {
                    // The smaller side counts; the length only where that is equal.
                    val around = minOf(place - part.first, part.last - place) +
                        0.01 * (part.last + 1 - part.first)
                    if (around > most[place]) {
                        most[place] = around
                        best[place] = index
                    }
                }
            }
            return best
        }
    }
}
