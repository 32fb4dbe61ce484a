"""Side-by-side measurements: every number is a ratio to a named alternative, timed in the same process.

Each module that ``tools/benchmark.py`` names has ``run(args)``: the numbers of a measurement, and the text about them.
"""
