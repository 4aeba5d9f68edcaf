from collections.abc import Callable

# In older versions an Exception. The nodes must not depend on which.
class InterruptProcessingException(BaseException): ...

# A variable, not a function: nodes/_host.py puts a listener in its place.
interrupt_current_processing: Callable[[bool], None]

def processing_interrupted() -> bool: ...
