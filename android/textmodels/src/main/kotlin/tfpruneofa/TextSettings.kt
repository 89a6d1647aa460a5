package tfpruneofa

/** How a text is treated before its words are looked up: as BERT's checkpoints had it, or MediaPipe. */
enum class CleanUp { BERT, MEDIAPIPE }

/**
 * What the tokenizer and, for questions, the windows of a file need; the file says it itself, in
 * `text_settings.json` behind the model.
 *
 * @property lowerCase lower-case the text.
 * @property stripAccents remove accents; null does so where the text is lower-cased, as BERT did.
 * @property splitChinese make each CJK ideograph a word of its own.
 * @property cleanUp of a text before its words are looked up; MediaPipe's has none of the three above.
 * @property questionLength of a question, in pieces; longer ones are cut.
 * @property stride pieces from one window of a long text to the next.
 * @property answerLength the longest answer, in pieces.
 * @property nBest starts and ends that are tried in each window.
 * @property noAnswerAbove how much better "no answer" may score than the best answer before none
 *     is given; null where every question has an answer.
 */
data class TextSettings(
    val lowerCase: Boolean = true,
    val stripAccents: Boolean? = null,
    val splitChinese: Boolean = true,
    val cleanUp: CleanUp = CleanUp.BERT,
    val questionLength: Int = 64,
    val stride: Int = 128,
    val answerLength: Int = 30,
    val nBest: Int = 20,
    val noAnswerAbove: Double? = null,
) {
    /** The same, with room for a text behind a question in a file of so many tokens. */
    fun forLength(sequenceLength: Int): TextSettings =
        copy(questionLength = minOf(questionLength, maxOf(1, (sequenceLength - 3) / 2)))

    companion object {
        private val ENTRY = Regex("\"(\\w+)\"\\s*:\\s*(true|false|null|\"[a-z]+\"|-?\\d+(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)")

        /**
         * Reads `text_settings.json`.
         *
         * @throws IllegalArgumentException it is not of that form, or has what is not known: a
         *     setting that is passed over would give other answers than the model's own.
         */
        fun parse(json: String): TextSettings {
            val values = LinkedHashMap<String, String>()
            val body = json.trim()
            require(body.startsWith("{") && body.endsWith("}")) { "$NAME is not a JSON object." }
            val inside = body.substring(1, body.length - 1)
            if (inside.isNotBlank()) {
                for (part in inside.split(',')) {
                    val entry = requireNotNull(ENTRY.matchEntire(part.trim())) {
                        "$NAME has \"${part.trim()}\", which this version does not know."
                    }
                    values[entry.groupValues[1]] = entry.groupValues[2]
                }
            }
            var settings = TextSettings()
            for ((key, value) in values) settings = settings.with(key, value)
            return settings
        }

        /** The settings of a file that does not say: BERT's, with the case of its vocabulary. */
        fun of(pieces: List<String>): TextSettings {
            val special = Regex("\\[.*\\]")
            return TextSettings(
                lowerCase = pieces.all { it == lowered(it) || special.matches(it) },
            )
        }

        private fun lowered(piece: String): String {
            val text = StringBuilder()
            piece.codePoints().forEach { for (c in UnicodeTables.lowered(it)) text.appendCodePoint(c) }
            return text.toString()
        }

        private const val NAME = "text_settings.json"

        private fun TextSettings.with(key: String, value: String): TextSettings = when (key) {
            "lower_case" -> copy(lowerCase = boolean(key, value))
            "strip_accents" ->
                copy(stripAccents = if (value == "null") null else boolean(key, value))
            "split_chinese" -> copy(splitChinese = boolean(key, value))
            "clean_up" -> copy(
                cleanUp = requireNotNull(CleanUp.entries.find { value == "\"${it.name.lowercase()}\"" }) {
                    "$NAME says $key = $value."
                },
            )
            "question_length" -> copy(questionLength = whole(key, value))
            "stride" -> copy(stride = whole(key, value))
            "answer_length" -> copy(answerLength = whole(key, value))
            "n_best" -> copy(nBest = whole(key, value))
            "no_answer_above" -> copy(noAnswerAbove = if (value == "null") null else number(key, value))
            else -> throw IllegalArgumentException(
                "$NAME has $key, which this version does not know. Update the app.",
            )
        }

        private fun boolean(key: String, value: String): Boolean =
            requireNotNull(value.toBooleanStrictOrNull()) { "$NAME says $key = $value." }

        private fun whole(key: String, value: String): Int =
            requireNotNull(value.toIntOrNull()?.takeIf { it > 0 }) { "$NAME says $key = $value." }

        private fun number(key: String, value: String): Double =
            requireNotNull(value.toDoubleOrNull()) { "$NAME says $key = $value." }
    }
}
