package tfpruneofa

import android.content.Context
import java.io.File
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.channels.FileChannel

/** Models and tables among an app's assets. */
object Assets {
    /**
     * Maps a model into memory. Gradle must not compress it: `androidResources { noCompress += "tflite" }`.
     *
     * @throws java.io.IOException there is none, or it is compressed.
     */
    fun map(context: Context, name: String): ByteBuffer = context.assets.openFd(name).use { asset ->
        FileInputStream(asset.fileDescriptor).channel.use {
            it.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength)
        }
    }

    /** Copies the delegate's cost table to where its library can read it. */
    fun costTable(context: Context, name: String): File {
        val file = File(context.noBackupFilesDir, name)
        context.assets.open(name).use { from -> file.outputStream().use { from.copyTo(it) } }
        return file
    }
}
