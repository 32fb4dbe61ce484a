# Settings that every run shares.
#
# A config (configs/*/*.py) is a backbone times a recipe. A file of _base_/backbones gives `backbone`, its `width` and,
# where weights exist, `pretrained`: the backbone that starts from them. A file of _base_/recipes gives the rest: data,
# heads, optimiser, schedule. The config itself puts the backbone into the recipe's model, and says what differs.
# If the weights' file, `model.backbone.init_cfg.checkpoint`, is missing, a run stops before its first step.
#
# Data: every data set lies in a folder of its own under $CRATE_DATA; if it is not set, under `data` (docs/data.md).
# Configs read the variable from os.environ: mmengine's own substitution pastes the value into Python source, where a
# quote in a path ends the string. mmengine drops names that begin with __ from a config. It reads a config with an
# import statement as a new-style config. Another number of GPUs or another batch: docs/training.md.
custom_imports = dict(imports=['projects.crate'], allow_failed_imports=False)
default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='VisualizationHook', enable=False),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])

log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=None, deterministic=False)
