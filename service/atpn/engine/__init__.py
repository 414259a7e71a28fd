"""What runs the network: batching, the models on disk, ONNX Runtime, or a server elsewhere."""
