"""What stages are made of: what they get and leave, the inputs they share, models and training."""
