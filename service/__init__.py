"""GlioServe: brain tumour segmentation of multimodal MRI as a web service."""
