"""Hand setuptools the ``setup.py`` of two packages with one place changed, while ``tools/install.py`` builds them.

Every Python of such a build starts with this file, since its folder is in PYTHONPATH. Nothing else can change the text
in time: pip runs ``setup.py`` right after the download.
"""

import io
import tokenize

PATCHES = {
    # mmcv <= 2.2.0 looks for what exec() left in locals(). Since Python 3.13 (PEP 667) that is nothing: "KeyError:
    # '__version__'". Unnecessary with: an mmcv that gives exec() a dict, as onedl-mmcv does.
    "exec(compile(f.read(), version_file, 'exec'))\n    return locals()['__version__']": (
        "found = {}\n        exec(compile(f.read(), version_file, 'exec'), found)\n    return found['__version__']"
    ),
    # pydensecrf2 <= 1.1 asks for a Cython whose C++ does not compile on Python 3.13 (_PyLong_AsByteArray). Any newer
    # one will do, and the installer has one. Unnecessary with: a pydensecrf2 that accepts Cython 3.
    "setup_requires=['cython==0.29.36'],": '',
}
open_setup_script = tokenize.open


def open_patched(path):
    """Open a Python file as ``tokenize.open`` does, which is how setuptools opens ``setup.py``."""
    with open_setup_script(path) as file:
        text = file.read()
    for old, new in PATCHES.items():
        text = text.replace(old, new)
    return io.StringIO(text)


tokenize.open = open_patched
