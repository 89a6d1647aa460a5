"""Write, quantize, sparsely encode and guard .tflite files."""
