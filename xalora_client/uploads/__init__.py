"""How images reach the miners, who fetch only ``http(s)`` addresses.

``Delivery`` gives each image of a task an address before the task is created, by one of three ways: ``Bucket`` for
storage of the user's own, ``Uploads`` for a sequencer of ours, and ``data:`` URIs for what is left.
"""

from .bucket import Bucket
from .delivery import Delivery, OnUpload, UploadProgress

__all__ = ["Bucket", "Delivery", "OnUpload", "UploadProgress"]
