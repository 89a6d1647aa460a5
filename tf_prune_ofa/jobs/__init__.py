"""What stages are made of: what they get and leave, inputs, models, training, files compared."""
