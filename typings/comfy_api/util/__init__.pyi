from fractions import Fraction
from typing import Any

from torch import Tensor

class VideoComponents:
    def __init__(self, images: Tensor, frame_rate: Fraction, audio: dict[str, Any] | None = None) -> None: ...
