from ..util import VideoComponents

class VideoFromFile:
    def __init__(self, file: str) -> None: ...

class VideoFromComponents:
    def __init__(self, components: VideoComponents) -> None: ...
