def diagnose():
    return []
