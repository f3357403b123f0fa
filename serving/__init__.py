"""Serves artificial students: an HTTP API, an OpenAI-compatible chat, and a page for watching them."""

import os
import sys

NO_TELEMETRY = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# Here, because `bentoml serve BENTO` imports this package before anything else of the Bento's.
os.environ.update(NO_TELEMETRY)
if usage := sys.modules.get("bentoml._internal.utils.analytics.usage_stats"):
    usage.do_not_track.cache_clear()  # it has looked at the environment already, and remembers
