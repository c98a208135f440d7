"""What people have for a model, as the tensors that it takes."""
