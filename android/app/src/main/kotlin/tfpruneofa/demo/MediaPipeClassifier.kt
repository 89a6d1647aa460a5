package tfpruneofa.demo

import android.content.Context
import com.google.mediapipe.tasks.text.textclassifier.TextClassifier

/**
 * The same file in MediaPipe, which needs none of our code: for files that need no delegate.
 *
 * Its scores are logits. It takes no external delegate, so zeros anywhere bring no speed there.
 */
class MediaPipeClassifier(context: Context, asset: String) : AutoCloseable {
    private val classifier = TextClassifier.createFromFile(context, asset)

    fun classify(text: String): String = classifier.classify(text)
        .classificationResult().classifications()[0].categories()
        .maxBy { it.score() }.categoryName()

    override fun close() = classifier.close()
}
