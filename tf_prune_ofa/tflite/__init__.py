"""Read, change and write `.tflite` files as data, without running them and without TensorFlow."""
