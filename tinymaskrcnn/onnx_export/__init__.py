"""A trained model as one ONNX file that holds the whole detection: images.py, layers.py and
detection.py are its stages, onnx_model.py puts them together, graph.py writes the nodes.
"""
