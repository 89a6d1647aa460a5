package tfpruneofa

import java.nio.ByteBuffer
import java.nio.file.Files
import java.nio.file.Path

/**
 * Answers questions about the library's logic, a line each, for tests/android/test_kotlin_logic.py.
 *
 *     LogicMainKt FILE.tflite SEQUENCE_LENGTH < questions
 *
 * Texts are words of four hexadecimal digits, one for each UTF-16 unit, so that half surrogate pairs
 * come through. Logits are made up, by a rule that the test knows, with many equal ones.
 */
fun main(arguments: Array<String>) {
    val packed = PackedFiles.read(ByteBuffer.wrap(Files.readAllBytes(Path.of(arguments[0]))))
    val pieces = PackedFiles.lines(packed.getValue("vocab.txt"))
    val length = arguments[1].toInt()
    val settings = packed["text_settings.json"]?.let(TextSettings::parse) ?: TextSettings.of(pieces)
    val wordPiece = WordPiece(pieces, settings)
    val encoder = Encoder(wordPiece, length)
    println(settings.forLength(length))
    for (line in generateSequence(::readlnOrNull)) {
        val words = line.split('\t')
        val texts = words.drop(1).map(::fromHex)
        when (words[0]) {
            "pieces" -> wordPiece.tokenize(texts[0]).let { println(listOf(it.ids, it.starts, it.ends).text()) }
            "encode" -> encoder.encode(texts[0], texts.getOrNull(1)).let { (ids, types) ->
                println(listOf(ids, types).text())
            }
            "answer" -> println(answer(encoder, texts[0], texts[1], settings.forLength(length)))
            else -> error("unknown: ${words[0]}")
        }
    }
}

private fun answer(encoder: Encoder, question: String, text: String, settings: TextSettings): String {
    val windows = encoder.windows(question, text, settings)
    val logits = listOf(7919, 104729).map { factor ->
        windows.map { window ->
            FloatArray(window.size) { (window.ids[it] * factor + it * 31 + window.size) % 1000 / 100f }
        }
    }
    val found = Answers.choose(text, windows, logits[0], logits[1], settings)
    val shown = windows.map { window ->
        listOf(window.ids, window.typeIds, window.starts, window.ends).text() + "|" +
            window.isCentral.joinToString("") { if (it) "1" else "0" }
    }
    val candidates = found.candidates.map { "${it.start} ${it.end} ${it.score}" }
    return (shown + listOf("${found.start} ${found.end} ${found.score} ${found.nullDifference}") + candidates)
        .joinToString("\t")
}

private fun List<IntArray>.text(): String = joinToString("|") { it.joinToString(" ") }

private fun fromHex(text: String): String =
    text.chunked(4).map { it.toInt(16).toChar() }.joinToString("")
