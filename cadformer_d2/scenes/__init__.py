"""Segmentation of many scenes, on this machine or on many. Needs the extra ``geo``."""
