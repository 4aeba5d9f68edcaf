from collections.abc import Callable

# In older versions an Exception. The nodes must not depend on which.
class InterruptProcessingException(BaseException): ...

# A variable, not a function: nodes/comfy/prompt.py puts a function of its own in its place.
interrupt_current_processing: Callable[[bool], None]

def processing_interrupted() -> bool: ...
