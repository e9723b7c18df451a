"""Things to touch: a generator under sliders, recorded pictures, games in the plane, questions.

Each widget is one anywidget over modules of ``front/``. ``explorer(G)`` is where to begin.

- A generator's faces (``LatentExplorer``, ``ClassSwap``, ``ClassMix``, ``LatentMap`` and
  ``SideBySide``) draw with the reader's own G. They are each a ``GeneratorFace`` and share
  their keyword arguments, ``View``.
- ``TextToImage`` is one more, under a text box.
- ``Denoiser`` shows a flow's way from noise to a picture.
- Recorded pictures (``Scrubber`` and ``Scoreboard``) and questions (``quiz`` of what ``ask``
  returns) need no kernel.
- ``Drawing`` is a sheet to draw on, beside what a U-Net makes of the lines; ``Translation`` shows
  a face, its translation and the way back.
- ``widgets.playground`` records 2-D games; ``widgets.export`` writes generators as ONNX files,
  which a page without a kernel draws with.
"""

from acgan_lib.widgets.denoise import Denoiser
from acgan_lib.widgets.drawing import Drawing, Preset
from acgan_lib.widgets.faces import (
    ClassMix,
    ClassSwap,
    GeneratorFace,
    LatentExplorer,
    LatentMap,
    SideBySide,
    View,
    explorer,
)  # fmt: skip
from acgan_lib.widgets.questions import Quiz, ask, quiz
from acgan_lib.widgets.recorded import Scoreboard, Scrubber
from acgan_lib.widgets.sentence import TextToImage
from acgan_lib.widgets.translation import Translation

__all__ = [
    "ClassMix", "ClassSwap", "Denoiser", "Drawing", "GeneratorFace", "LatentExplorer", "LatentMap",
    "Preset", "Quiz", "Scoreboard", "Scrubber", "SideBySide", "TextToImage", "Translation", "View",
    "ask", "explorer", "quiz",
]  # fmt: skip
