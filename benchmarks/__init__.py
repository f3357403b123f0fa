"""What `tutee bench` measures: each part of tutee beside the usual way, in one run."""
