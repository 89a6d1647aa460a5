package tfpruneofa.demo

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.TabHost
import android.widget.TextView
import java.io.IOException
import java.util.concurrent.Executors
import tfpruneofa.Assets
import tfpruneofa.ModelOptions
import tfpruneofa.QuestionAnswerer
import tfpruneofa.TextClassifier
import tfpruneofa.TextModel

/** Two tabs: classify a sentence, and ask a text. Models run behind the screen, one at a time. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private var classifier: TextClassifier? = null
    private var answerer: QuestionAnswerer? = null
    private var mediaPipe: MediaPipeClassifier? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        val tabs = findViewById<TabHost>(R.id.tabs)
        tabs.setup()
        for ((content, title) in listOf(
            R.id.classify to R.string.tab_classify,
            R.id.ask to R.string.tab_ask,
        )) {
            val name = getString(title)
            tabs.addTab(tabs.newTabSpec(name).setIndicator(name).setContent(content))
        }
        worker.execute(::openModels)
        findViewById<Button>(R.id.run_classify).setOnClickListener { classify() }
        findViewById<Button>(R.id.run_mediapipe).setOnClickListener { classifyWithMediaPipe() }
        findViewById<Button>(R.id.run_ask).setOnClickListener { ask() }
    }

    override fun onDestroy() {
        worker.execute {
            classifier?.close()
            answerer?.close()
            mediaPipe?.close()
        }
        worker.shutdown()
        super.onDestroy()
    }

    private fun openModels() {
        val costs = try {
            Assets.costTable(this, "costs.txt")
        } catch (missing: IOException) {
            null
        }
        val options = ModelOptions(costTable = costs)
        show(R.id.classify_status) {
            opened(CLASSIFIER) {
                TextClassifier(Assets.map(this, CLASSIFIER), options).also { classifier = it }
            }
        }
        show(R.id.ask_status) {
            opened(ANSWERS) {
                QuestionAnswerer(Assets.map(this, ANSWERS), options).also { answerer = it }
            }
        }
    }

    private fun opened(name: String, open: () -> TextModel): String = try {
        open().fallback?.let { getString(R.string.status_stock, it) }
            ?: getString(R.string.status_delegate)
    } catch (missing: IOException) {
        getString(R.string.status_missing, name)
    }

    private fun classify() {
        val sentence = words(R.id.sentence)
        run(R.id.label) {
            val model = classifier ?: return@run getString(R.string.status_missing, CLASSIFIER)
            val (found, ms) = timed { model.classify(sentence) }
            getString(R.string.result_label, found.label, 100 * found.score, ms)
        }
    }

    private fun classifyWithMediaPipe() {
        val sentence = words(R.id.sentence)
        run(R.id.label) {
            val model = mediaPipe ?: MediaPipeClassifier(this, CLASSIFIER).also { mediaPipe = it }
            val (found, ms) = timed { model.classify(sentence) }
            getString(R.string.result_answer, found, ms)
        }
    }

    private fun ask() {
        val question = words(R.id.question)
        val text = words(R.id.text)
        run(R.id.answer) {
            val model = answerer ?: return@run getString(R.string.status_missing, ANSWERS)
            val (found, ms) = timed { model.answer(question, text) }
            if (found.text.isEmpty()) {
                getString(R.string.result_no_answer, ms)
            } else {
                getString(R.string.result_answer, found.text, ms)
            }
        }
    }

    private fun words(id: Int): String = findViewById<EditText>(id).text.toString()

    /** Runs behind the screen and shows what comes out. */
    private fun run(id: Int, work: () -> String) = worker.execute { show(id, work) }

    private fun show(id: Int, work: () -> String) {
        val text = try {
            work()
        } catch (error: RuntimeException) {
            getString(R.string.result_error, error.message)
        }
        runOnUiThread { findViewById<TextView>(id).text = text }
    }

    private inline fun <T> timed(work: () -> T): Pair<T, Double> {
        val start = System.nanoTime()
        val result = work()
        return Pair(result, (System.nanoTime() - start) / 1e6)
    }

    private companion object {
        const val CLASSIFIER = "classifier.tflite"
        const val ANSWERS = "answers.tflite"
    }
}
