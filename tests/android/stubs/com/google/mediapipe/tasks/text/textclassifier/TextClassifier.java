package com.google.mediapipe.tasks.text.textclassifier;

public final class TextClassifier implements AutoCloseable {
    public static TextClassifier createFromFile(android.content.Context context, String path) {
        throw new UnsupportedOperationException();
    }

    public TextClassifierResult classify(String text) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() {}
}
