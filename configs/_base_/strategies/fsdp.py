# Fully sharded data parallel by mmengine's own strategy (with two remedies), for sizes whose weights and optimiser do
# not fit one GPU. Add this file to `_base_` of any config. Checkpoints hold the whole model: they are tested and
# converted without FSDP. Resume with FSDP, with any number of processes.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='ResumableFSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        use_orig_params=True,  # parameter groups (layer decay, no decay of norms) need the parameters themselves
        auto_wrap_policy='wrap_crate_layers',
    ),
    state_dict_cfg=dict(
        state_dict_type='FULL_STATE_DICT',
        state_dict_config=dict(type='FullStateDictConfig', offload_to_cpu=True),
        optim_state_dict_config=dict(type='FullOptimStateDictConfig', offload_to_cpu=True),
    ),
)
