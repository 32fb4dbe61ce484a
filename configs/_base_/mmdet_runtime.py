# mmdet's runtime, with the parts of this project.
_base_ = 'mmdet::_base_/default_runtime.py'

custom_imports = dict(imports=['projects.crate'], allow_failed_imports=False)
