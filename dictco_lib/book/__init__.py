"""What only the notebooks need: checks of exercises, figures, widgets, looks into models and files.

The engine, which is every other room, imports nothing from here; the command line may.
"""
