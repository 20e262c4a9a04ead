"""What `data/draw_five_classes.py` draws with: curves, a shading canvas, scenes and five nouns."""
