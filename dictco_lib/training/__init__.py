"""Training: recipes, data, loss, the loop. ``dictco train RECIPE`` is its face."""
