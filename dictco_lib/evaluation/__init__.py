"""Measuring codecs: metrics, rate-distortion points from real files, BD-rate."""
