"""The sample set: generated, seeded, no download."""
