package tfpruneofa

/**
 * A text as word pieces.
 *
 * @property ids of the pieces.
 * @property starts first character of the text that each piece covers.
 * @property ends behind its last one.
 */
class Pieces(val ids: IntArray, val starts: IntArray, val ends: IntArray) {
    val size: Int get() = ids.size
}

/**
 * Text to word pieces, as BERT's checkpoints were pre-trained: the same ids as the package's
 * `text.wordpiece.WordPiece`.
 *
 * @param lines of vocab.txt; the position is the id. A piece that is listed twice has its last id.
 * @throws IllegalArgumentException special pieces are missing.
 */
class WordPiece(lines: List<String>, private val settings: TextSettings) {
    private val ids = HashMap<String, Int>(2 * lines.size)
    private val longest: Int

    init {
        lines.forEachIndexed { id, piece -> if (piece.isNotEmpty()) ids[piece] = id }
        val missing = listOf("[PAD]", "[UNK]", "[CLS]", "[SEP]").filter { it !in ids }
        require(missing.isEmpty()) {
            "The vocabulary of ${ids.size} word pieces lacks ${missing.joinToString()}."
        }
        longest = ids.keys.maxOf { it.length }
    }

    val padId: Int = ids.getValue("[PAD]")
    val unknownId: Int = ids.getValue("[UNK]")
    val clsId: Int = ids.getValue("[CLS]")
    val sepId: Int = ids.getValue("[SEP]")

    private val stripsAccents = settings.stripAccents ?: settings.lowerCase

    /** The pieces of a text, without [CLS] and [SEP], at full length. */
    fun tokenize(text: String): Pieces {
        val found = Found()
        val word = Word()
        var place = 0
        while (place < text.length) {
            val character = text.codePointAt(place)
            val end = place + Character.charCount(character)
            take(character, place, end, word, found)
            place = end
        }
        finish(word, found)
        return found.pieces()
    }

    private fun take(character: Int, start: Int, end: Int, word: Word, found: Found) {
        if (settings.cleanUp == CleanUp.MEDIAPIPE) return takeAsMediaPipe(character, start, end, word, found)
        if (UnicodeTables.isRemoved(character)) return
        if (UnicodeTables.isSpace(character)) return finish(word, found)
        val isWord = settings.splitChinese && UnicodeTables.isCjk(character)
        if (isWord) finish(word, found)
        for (part in normalized(character)) {
            // A word of its own.
            val isAlone = UnicodeTables.isPunctuation(part)
            if (isAlone) finish(word, found)
            word.add(part, start, end)
            if (isAlone) finish(word, found)
        }
        if (isWord) finish(word, found)
    }

    /** Lower-cases A to Z; all but ASCII's white space and signs are letters. */
    private fun takeAsMediaPipe(character: Int, start: Int, end: Int, word: Word, found: Found) {
        val letter = when (character) {
            in 'A'.code..'Z'.code -> character + ('a' - 'A')
            in 0xD800..0xDFFF -> 0xFFFD
            else -> character
        }
        if (letter in ASCII_SPACES) return finish(word, found)
        val isAlone = UnicodeTables.isMediaPipeSign(letter)
        if (isAlone) finish(word, found)
        word.add(letter, start, end)
        if (isAlone) finish(word, found)
    }

    private fun normalized(character: Int): IntArray {
        if (character < 0x80 && !settings.lowerCase) return intArrayOf(character)
        val parts = if (stripsAccents) UnicodeTables.stripped(character) else intArrayOf(character)
        if (!settings.lowerCase) return parts
        return parts.flatMap { UnicodeTables.lowered(it).asList() }.toIntArray()
    }

    /** BERT counts characters, MediaPipe the bytes of UTF-8. */
    private fun isTooLong(word: Word): Boolean = when (settings.cleanUp) {
        CleanUp.BERT -> word.size
        CleanUp.MEDIAPIPE -> word.utf8Size
    } > LONGEST_WORD

    /** Cuts a word into the longest pieces from its left, or makes it unknown. */
    private fun finish(word: Word, found: Found) {
        val before = found.size
        var begin = 0
        while (begin < word.size) {
            var end = if (isTooLong(word)) begin else word.size
            while (end > begin) {
                val piece = word.text(begin, end, if (begin > 0) "##" else "")
                val id = if (piece.length > longest) null else ids[piece]
                if (id != null) {
                    found.add(id, word.starts[begin], word.ends[end - 1])
                    break
                }
                --end
            }
            if (end == begin) {
                found.cutTo(before)
                found.add(unknownId, word.starts[0], word.ends[word.size - 1])
                break
            }
            begin = end
        }
        word.clear()
    }

    private class Word {
        private val characters = ArrayList<Int>()
        val starts = ArrayList<Int>()
        val ends = ArrayList<Int>()
        val size: Int get() = characters.size
        val utf8Size: Int get() = characters.sumOf { utf8Size(it) }

        fun add(character: Int, start: Int, end: Int) {
            characters.add(character)
            starts.add(start)
            ends.add(end)
        }

        fun text(begin: Int, end: Int, prefix: String): String {
            val text = StringBuilder(prefix)
            for (index in begin until end) text.appendCodePoint(characters[index])
            return text.toString()
        }

        fun clear() {
            characters.clear()
            starts.clear()
            ends.clear()
        }
    }

    private class Found {
        private val ids = ArrayList<Int>()
        private val starts = ArrayList<Int>()
        private val ends = ArrayList<Int>()
        val size: Int get() = ids.size

        fun add(id: Int, start: Int, end: Int) {
            ids.add(id)
            starts.add(start)
            ends.add(end)
        }

        fun cutTo(count: Int) {
            while (ids.size > count) {
                ids.removeAt(ids.size - 1)
                starts.removeAt(starts.size - 1)
                ends.removeAt(ends.size - 1)
            }
        }

        fun pieces() = Pieces(ids.toIntArray(), starts.toIntArray(), ends.toIntArray())
    }

    private companion object {
        const val LONGEST_WORD = 100 // longer ones are unknown
        val ASCII_SPACES = "\t\n\u000c\r ".map { it.code }.toSet()

        fun utf8Size(character: Int): Int = when {
            character < 0x80 -> 1
            character < 0x800 -> 2
            character < 0x10000 -> 3
            else -> 4
        }
    }
}
