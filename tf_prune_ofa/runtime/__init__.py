"""Open, run and read `.tflite` files; knows nothing of training."""
