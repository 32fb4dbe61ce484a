# DeepSpeed ZeRO stage 3 by mmengine's own strategy; needs `pip install deepspeed` and GPUs. Not yet run in this
# project: no GPU with deepspeed was at hand; FSDP (fsdp.py beside this file) is tested. Add this file to `_base_` and
# exchange the optimiser's wrapper in the config itself, as DeepSpeed clips and accumulates by its own settings:
#
#   optim_wrapper = dict(_delete_=True, type='DeepSpeedOptimWrapper', optimizer=dict(type='AdamW', lr=1e-4))
#
# A checkpoint is a folder; DeepSpeed's own zero_to_fp32.py in it makes one file of it.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='DeepSpeedStrategy',
    bf16=dict(enabled=True),
    inputs_to_half=['inputs'],
    gradient_clipping=1.0,
    gradient_accumulation_steps=1,
    zero_optimization=dict(
        stage=3,
        overlap_comm=True,
        contiguous_gradients=True,
        reduce_scatter=True,
        stage3_gather_16bit_weights_on_model_save=True,
    ),
)
