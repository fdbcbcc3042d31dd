"""Read-only looks into a model: where its router sends what, and what each part is worth."""
