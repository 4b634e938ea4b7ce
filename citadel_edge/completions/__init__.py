"""The main job: one request from admission to settlement, the same for all doors."""
