package tfpruneofa

import org.tensorflow.lite.Delegate

/**
 * Runs fully-connected INT8 layers with many zeros; XNNPACK runs the rest.
 *
 * Give it to `Interpreter.Options.addDelegate` before any other delegate, and close it after the
 * interpreter. It uses as many threads as the interpreter.
 *
 * @param options as in docs/delegate.md; none are needed.
 * @throws IllegalArgumentException an option is not known or its value not allowed.
 */
class SparseInt8Delegate(options: Map<String, String> = emptyMap()) : Delegate, AutoCloseable {
    init {
        System.loadLibrary("tf_prune_ofa_delegate")
    }

    private var handle: Long =
        nativeCreate(options.keys.toTypedArray(), options.values.toTypedArray())

    override fun getNativeHandle(): Long {
        check(handle != 0L) { "The delegate is closed." }
        return handle
    }

    /** What became of each INT8 layer of the interpreter's model, one line each. */
    fun report(): String = nativeReport(getNativeHandle())

    override fun close() {
        if (handle != 0L) nativeDestroy(handle)
        handle = 0L
    }

    private external fun nativeCreate(keys: Array<String>, values: Array<String>): Long

    private external fun nativeDestroy(handle: Long)

    private external fun nativeReport(handle: Long): String
}
