"""Files that leave: the ONNX graphs and their metadata."""
