package tfpruneofa

/**
 * What BERT's tokenizer does to each character, as android/make_tables.py wrote it down.
 *
 * Not Java's own properties: they follow the Unicode version of the Android release.
 */
internal object UnicodeTables {
    private val sets = HashMap<String, IntArray>()
    private val mappings = HashMap<String, HashMap<Int, IntArray>>()

    init {
        val stream = checkNotNull(
            UnicodeTables::class.java.getResourceAsStream("/tfpruneofa/word_piece_tables.txt"),
        ) { "word_piece_tables.txt is not among the app's resources." }
        stream.bufferedReader(Charsets.US_ASCII).useLines { lines ->
            for (line in lines) {
                val words = line.split(' ')
                if (words[0] == "lower" || words[0] == "strip") {
                    val numbers = words.drop(1).map { it.toInt(16) }
                    mappings.getOrPut(words[0]) { HashMap() }[numbers[0]] =
                        numbers.drop(1).toIntArray()
                } else {
                    sets[words[0]] = bounds(words.drop(1))
                }
            }
        }
    }

    private val removed = sets.getValue("removed")
    private val space = sets.getValue("space")
    private val cjk = sets.getValue("cjk")
    private val punctuation = sets.getValue("punctuation")
    private val mediaPipeSigns = sets.getValue("mediapipe_signs")
    private val lower = mappings.getValue("lower")
    private val strip = mappings.getValue("strip")

    /** Whether the clean-up drops it: control characters, halves of surrogate pairs. */
    fun isRemoved(character: Int): Boolean =
        character in 0xD800..0xDFFF || character in removed

    fun isSpace(character: Int): Boolean = character in space

    fun isCjk(character: Int): Boolean = character in cjk

    fun isPunctuation(character: Int): Boolean = character in punctuation

    /** Whether it is a word of its own in MediaPipe: signs and ideographs. */
    fun isMediaPipeSign(character: Int): Boolean = character in mediaPipeSigns

    /** Without accents: what it comes apart into, less the marks. */
    fun stripped(character: Int): IntArray {
        strip[character]?.let { return it }
        val syllable = character - HANGUL_FIRST
        if (syllable !in 0 until HANGUL_COUNT) return intArrayOf(character)
        val parts = intArrayOf(
            0x1100 + syllable / 588,
            0x1161 + syllable % 588 / 28,
            0x11A7 + syllable % 28,
        )
        return if (syllable % 28 == 0) parts.copyOf(2) else parts
    }

    fun lowered(character: Int): IntArray = lower[character] ?: intArrayOf(character)

    private const val HANGUL_FIRST = 0xAC00
    private const val HANGUL_COUNT = 11172

    /** First and last (inclusive) of each range, one after the other. */
    private fun bounds(ranges: List<String>): IntArray {
        val numbers = IntArray(2 * ranges.size)
        ranges.forEachIndexed { index, range ->
            numbers[2 * index] = range.substringBefore('-').toInt(16)
            numbers[2 * index + 1] = range.substringAfter('-').toInt(16)
        }
        return numbers
    }

    private operator fun IntArray.contains(character: Int): Boolean {
        val place = binarySearch(character)
        // At a bound, or behind the first and before the last of a range.
        return place >= 0 || (-place - 1) % 2 == 1
    }
}
