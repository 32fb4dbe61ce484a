# The ViT-S/14 of DINOv2 (arXiv 2304.07193) as CRATE with the parts of a ViT; LayerScale is folded into its weights.
# Weights: dinov2_vits14_pretrain.pth as released, converted:
#   python tools/model_converters/crate_to_mm.py dinov2_vits14_pretrain.pth CHECKPOINT
# With registers (dinov2_vits14_reg4_pretrain.pth): num_registers=4, interpolation=dict(antialias=True).
width = 384
__arch__ = dict(embed_dims=384, num_heads=6, num_layers=12)
__parts__ = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)
backbone = dict(type='CRATE', arch=__arch__, **__parts__, img_size=518, patch_size=14, interpolation=dict(offset=0.1))
