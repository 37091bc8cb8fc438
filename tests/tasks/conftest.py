from tests.evaluation.conftest import pretrained, tiny_world

__all__ = ["pretrained", "tiny_world"]
