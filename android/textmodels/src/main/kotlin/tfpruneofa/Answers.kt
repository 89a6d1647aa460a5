package tfpruneofa

/** One possible answer: where it stands in the text, and start logit plus end logit. */
data class Candidate(val text: String, val start: Int, val end: Int, val score: Double)

/**
 * What a model says to a question.
 *
 * @property text the answer, as it stands in the text; "" if there is none.
 * @property start its first character in the text; -1 if there is none.
 * @property end behind its last one; -1 if there is none.
 * @property score start logit plus end logit.
 * @property nullDifference how much better "no answer" scores than the best answer.
 * @property candidates the best answers, the best first.
 */
data class Answer(
    val text: String,
    val start: Int,
    val end: Int,
    val score: Double,
    val nullDifference: Double,
    val candidates: List<Candidate>,
)

/** From logits to answers; the same as the package's `text.windows.find_answers`. */
internal object Answers {
    /**
     * Chooses the answer.
     *
     * In each window the `nBest` starts are paired with the `nBest` ends; a pair counts if the end
     * is not before the start, it is short enough, and its start is central there.
     *
     * @param starts logits of each window, as long as the window or longer.
     * @param ends likewise.
     */
    fun choose(
        text: String,
        windows: List<Window>,
        starts: List<FloatArray>,
        ends: List<FloatArray>,
        settings: TextSettings,
    ): Answer {
        val found = ArrayList<Candidate>()
        var nullScore = Double.POSITIVE_INFINITY
        windows.forEachIndexed { index, window ->
            val start = starts[index]
            val end = ends[index]
            nullScore = minOf(nullScore, start[0].toDouble() + end[0])
            val firsts = best(window.size, settings.nBest, start) { window.isCentral[it] }
            val lasts = best(window.size, settings.nBest, end) { window.starts[it] >= 0 }
            for (first in firsts) {
                for (last in lasts) {
                    if (last - first !in 0 until settings.answerLength) continue
                    val span = window.starts[first] to window.ends[last]
                    val score = start[first].toDouble() + end[last]
                    val words = text.substring(span.first, span.second)
                    found.add(Candidate(words, span.first, span.second, score))
                }
            }
        }
        // A stable sort: of equal scores the earlier window comes first, as in training.
        val candidates = found.sortedByDescending { it.score }.take(settings.nBest)
        val top = candidates.firstOrNull()
        val difference = if (top == null) Double.POSITIVE_INFINITY else nullScore - top.score
        val above = settings.noAnswerAbove
        if (top == null || (above != null && difference > above)) {
            return Answer("", -1, -1, nullScore, difference, candidates)
        }
        return Answer(top.text, top.start, top.end, top.score, difference, candidates)
    }

    /** Places of the greatest scores among those that may be taken, greatest first. */
    private fun best(
        size: Int,
        count: Int,
        scores: FloatArray,
        isAllowed: (Int) -> Boolean,
    ): List<Int> = (0 until size).filter { isAllowed(it) && scores[it].isFinite() }
        .sortedByDescending { scores[it] }
        .take(count)
}
