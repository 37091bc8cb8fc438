"""The embedded world: scenes composed of emoji pictures, with exact boxes, captions, questions and more.

One scene graph gives captions, regions, questions, statements, referring phrases and pairs of texts. Scene
graphs and texts are the same on every machine; pixels are the same for one Pillow version.
"""

from xfm.world.build import build_world
from xfm.world.storage import WorldManifest

__all__ = ["WorldManifest", "build_world"]
