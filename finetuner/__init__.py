"""samloop's fine-tuner: learns from annotations; runs as RQ jobs, or offline on a Label Studio export.

It uses the backend's library half (labelstudio, masks, registry, sam, settings, errors) and nothing of its server.
"""
