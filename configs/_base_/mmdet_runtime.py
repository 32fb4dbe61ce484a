# mmdet's runtime, with the parts of this project and without a checkpoint of every epoch.
_base_ = 'mmdet::_base_/default_runtime.py'

custom_imports = dict(imports=['projects.crate'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
