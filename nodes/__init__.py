"""The list of nodes. Ids are in saved workflows: they never change.

Every node is an output node (``OUTPUT_NODE``), so that one node and Run are enough, and so that ComfyUI sends a cached
node's preview again. The price: a node that nothing is connected to runs too, and what it makes is paid for. That is
what people expect who dragged it there. Muted and bypassed nodes never run, and the same inputs are not charged twice.
One that only a lazy switch may need runs if the switch takes its branch (``comfy/selection.py``).
"""

from . import error_messages
from .cancel_task import XaloraCancelTask
from .comfy import selection
from .comfy.users import note_users
from .editor_api import routes, settings
from .flux_lora import XaloraFluxLora
from .run_workflow import XaloraRunWorkflow
from .task_status import XaloraTaskStatus
from .text2video import XaloraText2Video
from .upscale import XaloraUpscale

NODE_CLASS_MAPPINGS = {
    "XaloraText2Video": XaloraText2Video,
    "XaloraUpscale": XaloraUpscale,
    "XaloraTaskStatus": XaloraTaskStatus,
    "XaloraFluxLora": XaloraFluxLora,
    "XaloraRunWorkflow": XaloraRunWorkflow,
    "XaloraCancelTask": XaloraCancelTask,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "XaloraText2Video": "Text to Video (Xalora Text2Video)",
    "XaloraUpscale": "Upscale Image / Enlarge (Xalora Upscale)",
    "XaloraTaskStatus": "Xalora Task Status",
    "XaloraFluxLora": "Text to Image (Xalora Flux LoRA)",
    "XaloraRunWorkflow": "Run Workflow on Remote/Cloud GPU (Xalora Run Workflow)",
    "XaloraCancelTask": "Xalora Cancel Task",
}

for _node in NODE_CLASS_MAPPINGS.values():
    error_messages.wrap_errors(_node)
error_messages.set_up_log()
settings.log_at_start()
selection.run_selected_only(NODE_CLASS_MAPPINGS)
routes.register()
note_users()
