"""ReLU and sigmoid, element by element, and softmax; each with its gradient."""
