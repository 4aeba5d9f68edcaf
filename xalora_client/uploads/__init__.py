"""How a task's inputs reach the miners, which fetch only ``http(s)`` addresses.

``Uploads`` gives each input an address before the task is created, by one of three methods: a bucket of the user's own
(``Bucket``), an upload to a sequencer of ours (``SequencerUploads``), or a ``data:`` URI inside the create.
"""

from .bucket import Bucket
from .uploads import OnUpload, UploadProgress, Uploads

__all__ = ["Bucket", "OnUpload", "UploadProgress", "Uploads"]
