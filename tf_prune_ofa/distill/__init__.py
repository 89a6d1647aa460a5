"""Knowledge distillation: losses, and the model that trains a student against a teacher."""
