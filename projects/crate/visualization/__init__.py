"""Pictures, curves and pages; every function returns what it drew and writes nothing."""
