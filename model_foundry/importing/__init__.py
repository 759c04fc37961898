"""Models of other programs, made into folders that load with ``from_pretrained``."""
