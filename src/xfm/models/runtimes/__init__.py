"""Models as graphs for other runtimes: written, compared, and run by ONNX Runtime, OpenVINO or torch."""
