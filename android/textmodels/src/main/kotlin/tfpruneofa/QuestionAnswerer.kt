package tfpruneofa

import java.nio.ByteBuffer

/**
 * A question and a text of any length in, the answer out: a part of that text.
 *
 *     QuestionAnswerer(TextModel.map(file)).use { println(it.answer("Who wrote it?", text).text) }
 *
 * @param file the bytes of a `.tflite` file of the package.
 * @throws IllegalArgumentException it gives no answers, or carries no vocabulary.
 */
class QuestionAnswerer(file: ByteBuffer, options: ModelOptions = ModelOptions()) :
    TextModel(file, options) {
    init {
        requireOutputs(setOf(START, END))
    }

    fun answer(question: String, text: String): Answer {
        val windows = encoder.windows(question, text, settings)
        val logits = windows.map { run(it.ids, it.typeIds) }
        return Answers.choose(
            text,
            windows,
            logits.map { it.getValue(START) },
            logits.map { it.getValue(END) },
            settings,
        )
    }

    private companion object {
        const val START = "start_logits"
        const val END = "end_logits"
    }
}
