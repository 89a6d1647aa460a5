package tfpruneofa

import java.nio.ByteBuffer
import kotlin.math.exp

/**
 * What a classifier says to a text.
 *
 * @property label name of the likeliest class; "" of a regression.
 * @property score its probability; of a regression the number itself.
 * @property scores probability of every class by name.
 */
data class Classified(val label: String, val score: Float, val scores: Map<String, Float>)

/**
 * Raw text in, label out.
 *
 *     TextClassifier(TextModel.map(file)).use { println(it.classify("A small movie.").label) }
 *
 * @param file the bytes of a `.tflite` file of the package.
 * @throws IllegalArgumentException it is no classifier, or carries no vocabulary.
 */
class TextClassifier(file: ByteBuffer, options: ModelOptions = ModelOptions()) :
    TextModel(file, options) {
    init {
        requireOutputs(setOf("logits"))
    }

    /**
     * Classifies a text; what is longer than the file takes loses its end.
     *
     * @param pair the second text, for tasks on pairs.
     */
    fun classify(text: String, pair: String? = null): Classified {
        val (ids, typeIds) = encoder.encode(text, pair)
        return Labels.choose(run(ids, typeIds).getValue("logits"), labels)
    }
}

/** From logits to labels. */
internal object Labels {
    fun choose(logits: FloatArray, labels: List<String>): Classified {
        if (logits.size == 1) return Classified("", logits[0], emptyMap())
        val names = labels.ifEmpty { logits.indices.map { "LABEL_$it" } }
        val best = logits.indices.maxBy { logits[it] }
        val powers = logits.map { exp((it - logits[best]).toDouble()) }
        val scores = powers.map { (it / powers.sum()).toFloat() }
        return Classified(names[best], scores[best], names.zip(scores).toMap())
    }
}
