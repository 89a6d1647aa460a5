package tfpruneofa

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The text files that a `.tflite` file carries behind the model, as a zip archive. */
internal object PackedFiles {
    private const val END = 0x06054b50
    private const val ENTRY = 0x02014b50
    private const val END_BYTES = 22
    private const val ENTRY_BYTES = 46
    private const val LOCAL_BYTES = 30
    private const val LONGEST_COMMENT = 65535

    /**
     * Returns the files by name; none without a zip part.
     *
     * @param file the bytes of the `.tflite` file; its position does not matter.
     * @throws IllegalArgumentException the zip part is damaged or compressed.
     */
    fun read(file: ByteBuffer): Map<String, String> {
        val bytes = file.duplicate().order(ByteOrder.LITTLE_ENDIAN)
        bytes.clear()
        val end = findEnd(bytes) ?: return emptyMap()
        val found = LinkedHashMap<String, String>()
        var place = bytes.getInt(end + 16)
        repeat(bytes.getShort(end + 10).toInt() and 0xffff) {
            require(place in 0..end - ENTRY_BYTES && bytes.getInt(place) == ENTRY) {
                "The vocabulary and labels behind the model cannot be read; get the file again."
            }
            val nameSize = bytes.getShort(place + 28).toInt() and 0xffff
            val name = text(bytes, place + ENTRY_BYTES, nameSize)
            require(bytes.getShort(place + 10).toInt() == 0) {
                "$name in the model file is compressed; export the file again."
            }
            val size = bytes.getInt(place + 24)
            val local = bytes.getInt(place + 42)
            require(local in 0..end - LOCAL_BYTES) { "$name lies outside the model file." }
            val content = local + LOCAL_BYTES + (bytes.getShort(local + 26).toInt() and 0xffff) +
                (bytes.getShort(local + 28).toInt() and 0xffff)
            found[name] = text(bytes, content, size)
            place += ENTRY_BYTES + nameSize + (bytes.getShort(place + 30).toInt() and 0xffff) +
                (bytes.getShort(place + 32).toInt() and 0xffff)
        }
        return found
    }

    /** The lines of a text file; not by every Unicode line end, which vocabularies have as pieces. */
    fun lines(text: String): List<String> {
        val lines = text.removePrefix("\uFEFF").split('\n').map { it.trimEnd('\r') }
        return if (lines.last().isEmpty()) lines.dropLast(1) else lines
    }

    private fun findEnd(bytes: ByteBuffer): Int? {
        val last = bytes.limit() - END_BYTES
        for (place in last downTo maxOf(0, last - LONGEST_COMMENT)) {
            if (bytes.getInt(place) == END) return place
        }
        return null
    }

    private fun text(bytes: ByteBuffer, place: Int, size: Int): String {
        require(size >= 0 && place >= 0 && place <= bytes.limit() - size) {
            "The vocabulary and labels behind the model cannot be read; get the file again."
        }
        val content = ByteArray(size)
        bytes.position(place)
        bytes.get(content)
        return String(content, Charsets.UTF_8)
    }
}
