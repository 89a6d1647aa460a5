package tfpruneofa

import java.io.File
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.tensorflow.lite.Interpreter

/**
 * How to open a model.
 *
 * @property threads of the runtime; two big cores are usually best.
 * @property usesDelegate whether the sparse INT8 delegate may run what it runs faster.
 * @property costTable the delegate's costs on this kind of processor, as tools/benchmark_device.py
 *     measured and wrote them; null uses those in the library.
 */
data class ModelOptions(
    val threads: Int = 2,
    val usesDelegate: Boolean = true,
    val costTable: File? = null,
)

/**
 * A `.tflite` file that takes text: model, vocabulary and settings, all from the file itself.
 *
 * Several threads may use one object; they take turns. Close it to give its memory back.
 *
 * @property labels names of the classes, in the order of the logits; empty where there are none.
 * @property fallback why the delegate is not used; null if it is, or was not asked for. The stock
 *     runtime gives the same results, more slowly.
 */
open class TextModel protected constructor(file: ByteBuffer, options: ModelOptions) :
    AutoCloseable {
    val labels: List<String>
    var fallback: String? = null
        private set
    protected val settings: TextSettings
    protected val encoder: Encoder
    protected val outputs: Map<String, Int>
    private val sequenceLength: Int
    private val padId: Int
    private val inputs: List<String>
    private var delegate: SparseInt8Delegate? = null
    private var interpreter: Interpreter?

    init {
        val packed = PackedFiles.read(file)
        val vocabulary = requireNotNull(packed["vocab.txt"]) {
            "The model file carries no vocabulary; export it with its vocabulary."
        }
        val pieces = PackedFiles.lines(vocabulary)
        labels = packed["labels.txt"]?.let(PackedFiles::lines).orEmpty()
        val opened = open(file, options)
        interpreter = opened
        inputs = (0 until opened.inputTensorCount).map { plain(opened.getInputTensor(it).name()) }
        outputs = (0 until opened.outputTensorCount)
            .associateBy { plain(opened.getOutputTensor(it).name()) }
        sequenceLength = opened.getInputTensor(0).shape().last()
        val stated = packed["text_settings.json"]?.let(TextSettings::parse)
        settings = (stated ?: TextSettings.of(pieces)).forLength(sequenceLength)
        val wordPiece = WordPiece(pieces, settings)
        padId = wordPiece.padId
        encoder = Encoder(wordPiece, sequenceLength)
    }

    /** What became of each INT8 layer, one line each; "" without the delegate. */
    @Synchronized
    fun report(): String = delegate?.report().orEmpty()

    @Synchronized
    override fun close() {
        interpreter?.close()
        interpreter = null
        delegate?.close() // after the interpreter that uses it
        delegate = null
    }

    /** Runs one text's ids, padded to the file's length; returns the outputs by name. */
    @Synchronized
    protected fun run(ids: IntArray, typeIds: IntArray): Map<String, FloatArray> {
        val model = checkNotNull(interpreter) { "The model is closed." }
        val values = inputs.map { name ->
            when (name) {
                "input_word_ids" -> buffer { if (it < ids.size) ids[it] else padId }
                "input_mask" -> buffer { if (it < ids.size) 1 else 0 }
                "input_type_ids" -> buffer { if (it < ids.size) typeIds[it] else 0 }
                else -> throw IllegalStateException("The model has an input $name.")
            }
        }
        val results = outputs.mapValues { (_, index) ->
            val tensor = model.getOutputTensor(index)
            ByteBuffer.allocateDirect(tensor.numBytes()).order(ByteOrder.nativeOrder())
        }
        val byIndex = outputs.entries.associate { (name, index) -> index to results.getValue(name) }
        model.runForMultipleInputsOutputs(values.toTypedArray(), byIndex)
        return results.mapValues { (_, bytes) ->
            bytes.rewind()
            FloatArray(bytes.remaining() / Float.SIZE_BYTES).also { bytes.asFloatBuffer().get(it) }
        }
    }

    protected fun requireOutputs(names: Set<String>) {
        require(outputs.keys == names) {
            close()
            "The model gives ${outputs.keys.sorted()}, not ${names.sorted()}."
        }
    }

    private fun buffer(value: (Int) -> Int): ByteBuffer {
        val bytes = ByteBuffer.allocateDirect(Int.SIZE_BYTES * sequenceLength)
            .order(ByteOrder.nativeOrder())
        for (place in 0 until sequenceLength) bytes.putInt(value(place))
        bytes.rewind()
        return bytes
    }

    private fun open(file: ByteBuffer, options: ModelOptions): Interpreter {
        if (!options.usesDelegate) return Interpreter(file, runtimeOptions(options))
        var created: SparseInt8Delegate? = null
        try {
            val table = options.costTable?.let { mapOf("cost_table" to it.path) }
            val sparse = SparseInt8Delegate(table.orEmpty())
            created = sparse
            val opened = Interpreter(file, runtimeOptions(options).addDelegate(sparse))
            delegate = sparse
            return opened
        } catch (error: UnsatisfiedLinkError) {
            fallback = "no library for this processor: ${error.message}"
        } catch (error: IllegalArgumentException) {
            fallback = error.message
        }
        created?.close()
        return Interpreter(file, runtimeOptions(options))
    }

    private fun runtimeOptions(options: ModelOptions): Interpreter.Options =
        Interpreter.Options().setNumThreads(options.threads)

    companion object {
        /** Maps a file into memory; the pages that are not used cost nothing. */
        fun map(file: File): ByteBuffer = FileInputStream(file).use {
            it.channel.map(FileChannel.MapMode.READ_ONLY, 0, it.channel.size())
        }

        private fun plain(name: String): String =
            name.removePrefix("serving_default_").removeSuffix(":0")
    }
}
