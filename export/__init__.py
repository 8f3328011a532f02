"""From a checkpoint to a file that an engine runs: ``onnx`` converts, ``parity`` compares the result with
PyTorch, ``cache`` keeps it under the hash of what it was made from."""
