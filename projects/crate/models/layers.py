"""Layers of CRATE and of its ablations. Imports torch and the errors of this project.

The notation follows "White-Box Transformers via Sparse Rate Reduction" (arXiv 2306.01129, called CRATE below) and
"Emergence of Segmentation with Minimalistic White-Box Transformers" (arXiv 2308.16271). Tokens Z are rows, (B, N, d). K
heads have subspaces of dimension p = d / K.

To add an attention, write a subclass of :class:`Attention` and enter it in ``ATTENTIONS``. State it if the rows of its
``attention`` do not sum to 1: figures show them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ArgumentError


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Split the width into heads: (B, N, K p) -> (B, K, N, p)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Put the heads side by side: (B, K, N, p) -> (B, N, K p)."""
    return x.transpose(1, 2).flatten(2)


def softmax_rows(query: Tensor, key: Tensor) -> Tensor:
    """Return softmax(Q K^T / sqrt(p)): (B, K, Q, p) and (B, K, N, p) -> (B, K, Q, N)."""
    return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)


class Attention(nn.Module):
    """Multi-head attention of normalised tokens.

    out_k = softmax(Q_k K_k^T / sqrt(p)) V_k;  result = [out_1 ... out_K] O + b

    A subclass returns Q, K and V of all heads (:meth:`query_key_value`). A subclass with another formula overrides
    :meth:`attend` and :meth:`attention`. These methods need only the output of ``qkv``. So features and single rows of
    the attention map can be read after a forward pass (``observe.py``), and windows fit any formula.

    Args:
        qkv: Projection of the tokens.
        proj: Output projection, O and b.
        num_heads: K; divides d.
    """

    has_windows = True  # False: no `window_size`, since windows would change the formula

    def __init__(self, qkv: nn.Module, proj: nn.Module, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.qkv, self.proj = num_heads, qkv, proj

    def forward(self, x: Tensor, windows: Callable | None = None, rows: slice = slice(None)) -> Tensor:
        """Attend: tokens (B, N, d) -> (B, rows, d) for ``rows``, which attend to all; with windows (B, N, d)."""
        projected = self.qkv(x)
        return self.proj(windows(self.attend, projected) if windows else self.attend(projected, rows))

    def query_key_value(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return Q, K, V, (B, K, N, p) each, from the output of ``qkv``."""
        raise NotImplementedError

    def attend(self, projected: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return [out_1 ... out_K] of the tokens ``rows``, (B, rows, d), from the output of ``qkv``."""
        # the backward pass of torch's kernel on a CPU takes three times as long for bfloat16 as for float32
        is_slow = projected.dtype == torch.bfloat16 and projected.is_cpu and projected.requires_grad
        query, key, value = self.query_key_value(projected.float() if is_slow else projected)
        with torch.autocast('cpu', enabled=False):
            output = F.scaled_dot_product_attention(query[:, :, rows], key, value)
        return merge_heads(output).to(projected.dtype)

    def features(self, projected: Tensor) -> Tensor:
        """Return U^T z (or the keys) of all heads side by side, (B, N, d), from the output of ``qkv``."""
        return projected

    def attention(self, projected: Tensor, rows: slice, columns: slice = slice(None)) -> Tensor:
        """Return the attention of ``rows`` to ``columns`` alone, (B, K, rows, columns), from the output of ``qkv``."""
        query, key, _ = self.query_key_value(projected)
        return softmax_rows(query[:, :, rows], key[:, :, columns])


class MSSA(Attention):
    """Multi-head subspace self-attention.

    W_k = X U_k;  out_k = softmax(W_k W_k^T / sqrt(p)) W_k;  MSSA(X) = [out_1 ... out_K] O + b      (CRATE, equations 10
    and 11)

    One projection serves as query, key and value. Symbols: U is ``qkv.weight`` transposed (d x d, no bias), O and b are
    ``proj``. Departures from the paper, as in its released code: O is free (the paper has the scaled U there) and has a
    bias. With K = 1 there is no O.

    Args:
        dim: Token width d.
        num_heads: K; divides d.
        proj_bias: Whether O has the bias b; CRATE-alpha (arXiv 2405.20299) has none.
    """

    def __init__(self, dim: int, num_heads: int, proj_bias: bool = True) -> None:
        qkv = nn.Linear(dim, dim, bias=False)
        super().__init__(qkv, nn.Linear(dim, dim, bias=proj_bias) if num_heads > 1 else nn.Identity(), num_heads)

    def query_key_value(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return W_k as Q, K and V."""
        w = split_heads(projected, self.num_heads)
        return w, w, w


class MHSA(Attention):
    """Multi-head self-attention of the ViT, the attention ablation of arXiv 2308.16271, Table 2.

    out_k = softmax(Q_k K_k^T / sqrt(p)) V_k;  MHSA(X) = [out_1 ... out_K] O + b      (arXiv 2010.11929, Appendix A)

    Parameter names are as in mmpretrain's VisionTransformer. Its features are the keys, as in DINO and MaskCut.

    Args:
        dim: Token width d.
        num_heads: K; divides d.
        qkv_bias: Whether query, key and value have biases.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__(nn.Linear(dim, 3 * dim, bias=qkv_bias), nn.Linear(dim, dim), num_heads)

    def query_key_value(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three parts of the projection."""
        query, key, value = (split_heads(part, self.num_heads) for part in projected.chunk(3, dim=-1))
        return query, key, value

    def features(self, projected: Tensor) -> Tensor:
        """Return the keys of all heads side by side, (B, N, d), from the output of ``qkv``."""
        return projected.chunk(3, dim=-1)[1]


class TSSA(Attention):
    """Token statistics self-attention, linear in the number of tokens (ToST, arXiv 2412.17810, equation 14).

    W_k = X U_k;  pi = softmax over heads of (t_k sum_p V_k^2), V_k = W_k with every column scaled to unit length over
    the tokens;  s_k = (pi_k / sum_n pi_k) . W_k^2;  out_k = -(W_k * pi_k) / (1 + s_k);  TSSA(X) = [out_1 ... out_K] O +
    b

    Symbols: U is ``qkv`` (with a bias, as in the released code), t is ``temp`` (K, 1), O and b are ``proj``.
    There is no N x N attention; ``attention`` returns pi, the share of each head in each token.

    Args:
        dim: Token width d.
        num_heads: K; divides d.
        qkv_bias: Whether the projection has a bias.
    """

    has_windows = False

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__(nn.Linear(dim, dim, bias=qkv_bias), nn.Linear(dim, dim), num_heads)
        self.temp = nn.Parameter(torch.ones(num_heads, 1))

    def membership(self, w: Tensor) -> Tensor:
        """Return pi, (B, K, N), of the projected tokens (B, K, N, p)."""
        return (F.normalize(w, dim=-2).square().sum(-1) * self.temp).softmax(dim=1)

    def attend(self, projected: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return [out_1 ... out_K] of the tokens ``rows``, (B, rows, d), from the output of ``qkv``."""
        w = split_heads(projected, self.num_heads)
        pi = self.membership(w).unsqueeze(-2)  # (B, K, 1, N)
        second_moment = pi / (pi.sum(-1, keepdim=True) + 1e-8) @ w.square()  # (B, K, 1, p)
        w, pi = w[:, :, rows], pi[..., rows]
        return merge_heads(-w * pi.transpose(-2, -1) / (1 + second_moment))

    def attention(self, projected: Tensor, rows: slice, columns: slice = slice(None)) -> Tensor:
        """Return pi of ``columns``, (B, K, rows, columns): equal for all ``rows``; no token attends to another."""
        pi = self.membership(split_heads(projected, self.num_heads))[:, :, None, columns]
        return pi.expand(-1, -1, len(range(*rows.indices(projected.shape[1]))), -1)


class ISTA(nn.Module):
    """One step of the iterative shrinkage-thresholding algorithm towards a sparse code of the tokens.

    ISTA(x) = ReLU(x + eta D^T (x - D x) - eta lambda)      (CRATE, equation 17)

    With ``threshold='soft'`` the sign is kept: soft threshold at eta lambda in place of the ReLU (CRATE-sth, arXiv
    2308.16271, Figure 13). Symbols: D is ``weight`` (d x d), acting on a token as a column; eta, lambda are ``eta``,
    ``lambd``. There is no skip around this step.

    With tokens as rows, the sum before the ReLU is x + x H, H = eta (D - D^T D). H costs d^3 multiply-adds. Training
    forms it in steps of more than d tokens; evaluation on a CPU keeps it until the weights change. Otherwise two
    products follow the formula.

    Args:
        dim: Token width d.
        eta: Step size.
        lambd: Weight of the l1 penalty.
        threshold: 'relu' or 'soft'.
    """

    residual = False

    def __init__(self, dim: int, eta: float = 0.1, lambd: float = 0.1, threshold: str = 'relu') -> None:
        super().__init__()
        if threshold not in ('relu', 'soft'):
            raise ArgumentError(f"ISTA: threshold must be 'relu' or 'soft', not {threshold!r}")
        self.eta, self.lambd, self.threshold = eta, lambd, threshold
        self.weight = nn.Parameter(torch.empty(dim, dim))
        nn.init.kaiming_uniform_(self.weight)
        self._kept: tuple[Tensor, Tensor] | None = None  # weights, and their H

    def forward(self, x: Tensor) -> Tensor:
        """Take one step: (B, N, d) -> (B, N, d)."""
        z, D, eta, lambd = x.flatten(0, -2), self.weight, self.eta, self.lambd
        H = self._product(z.shape[0])
        # autocast multiplies in few bits; the sums keep the bits of the tokens, as in the released code
        if H is None:
            step = z + (eta * (z - F.linear(z, D))) @ D  # inductor of torch 2.12 drops alpha of torch.add
        else:
            change = z @ H
            step = change.add_(z) if change.dtype == z.dtype else z + change
        if self.threshold == 'soft':
            return F.softshrink(step, eta * lambd).view_as(x)
        # in place before the view, not after it: the gradient of a view that was changed takes five copies
        return step.sub_(eta * lambd).relu_().view_as(x)

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_kept': None}  # a saved module is as large as its weights

    def _product(self, num_tokens: int) -> Tensor | None:
        """Return H if it pays: forward and backward it costs d^3 each, and saves d^2 and 2 d^2 per token."""
        weight = self.weight
        if getattr(torch.compiler, 'is_exporting', bool)():  # a choice would bind the size of the batch
            return None
        is_plain = type(weight) is nn.Parameter and not weight.is_cuda  # not sharded; no GPU waits
        if torch.is_grad_enabled() or _is_recorded() or not is_plain:
            return self._fold() if num_tokens > weight.shape[0] else None
        if weight.is_meta:  # nothing is computed: as if it were known
            return torch.empty_like(weight)
        kept = self._kept
        if kept is None or kept[0].dtype != weight.dtype or not torch.equal(kept[0], weight):
            self._kept = kept = weight.detach().clone(), self._fold()
        return kept[1]

    def _fold(self) -> Tensor:
        """Return H, in the precision of the weights also under autocast."""
        # a trace with a Function cannot be saved, and torch.compile takes none with a jvp
        fold = Fold.forward if _is_recorded() else Fold.apply
        with torch.autocast(self.weight.device.type, enabled=False):
            return fold(self.weight, self.eta)


def _is_recorded() -> bool:
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


class Fold(torch.autograd.Function):
    """H = eta (D - D^T D) with a gradient of one product: dD = eta (dH - D (dH + dH^T)).

    Automatic differentiation needs two products: it does not know that both factors of D^T D are the same.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, eta: float) -> Tensor:
        """Return H, (d, d), of D, (d, d)."""
        return torch.addmm(weight, weight.t(), weight, beta=eta, alpha=-eta)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        """Keep D and eta."""
        weight, ctx.eta = inputs
        ctx.save_for_backward(weight)
        ctx.save_for_forward(weight)

    @staticmethod
    def jvp(ctx, tangent: Tensor, _: None) -> Tensor:
        """Return the change of H for a change of D, (d, d)."""
        (weight,) = ctx.saved_tensors
        half = weight.t() @ tangent
        return ctx.eta * (tangent - half - half.t())

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        """Return dD, (d, d), of dH, and None for eta."""
        (weight,) = ctx.saved_tensors
        return torch.addmm(grad, weight, grad + grad.t(), beta=ctx.eta, alpha=-ctx.eta), None


class ODL(nn.Module):
    """Overcomplete dictionary learning: two proximal steps from zero, then decoding.

    a1 = ReLU(eta D^T x - eta lambda);  a2 = ReLU(a1 - eta D^T (D a1 - x) - eta lambda);  ODL(x) = D1 a2

    Source: CRATE-alpha (arXiv 2405.20299), section 3. Symbols: D, D1 are the parameters ``D``, ``D1`` (d x ratio d),
    acting on a token as a column.

    Args:
        dim: Token width d.
        ratio: Atoms per dimension of the token.
        decoupled: Whether the decoder D1 is a parameter of its own; otherwise D1 = D.
        residual: Whether the layer adds its input to the result.
        eta: Step size.
        lambd: Weight of the l1 penalty.
    """

    def __init__(
        self,
        dim: int,
        ratio: int = 4,
        decoupled: bool = True,
        residual: bool = True,
        eta: float = 0.1,
        lambd: float = 0.1,
    ) -> None:
        super().__init__()
        check_ratio('ODL', ratio)
        self.residual, self.eta, self.lambd = residual, eta, lambd
        self.D = nn.Parameter(torch.empty(dim, ratio * dim))
        self.D1 = nn.Parameter(torch.empty(dim, ratio * dim)) if decoupled else None
        for dictionary in self.parameters():
            nn.init.kaiming_uniform_(dictionary.t())  # fan-in d

    def forward(self, x: Tensor) -> Tensor:
        """Encode and decode: (B, N, d) -> (B, N, d)."""
        code = F.relu(self.eta * (x @ self.D) - self.eta * self.lambd)
        error = x - F.linear(code, self.D)
        code = F.relu(code + self.eta * (error @ self.D) - self.eta * self.lambd)
        return F.linear(code, self.D if self.D1 is None else self.D1)


class MLP(nn.Module):
    """The ViT's feed-forward block, GELU(x W1 + b1) W2 + b2, the nonlinearity ablation of arXiv 2308.16271, Table 2.

    Parameter names are as in mmcv's FFN, which mmpretrain's VisionTransformer uses. The layer adds its input to the
    result.

    Args:
        dim: Token width d.
        ratio: Hidden width as a multiple of d.
    """

    residual = True

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        check_ratio('MLP', ratio)
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(dim, ratio * dim), nn.GELU()), nn.Linear(ratio * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the MLP: (B, N, d) -> (B, N, d)."""
        return self.layers(x)


def check_ratio(name: str, ratio: int) -> None:
    """Raise ArgumentError for a ratio of widths below 1; ``name`` is the layer, for the message."""
    if ratio < 1:
        raise ArgumentError(f'{name}: ratio must be at least 1, not {ratio}')


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382).

    In training a sample's residual branch is zeroed with probability ``rate`` and scaled by 1 / (1 - rate) otherwise.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop the branch of some samples: (B, N, d) -> (B, N, d)."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        return x * (torch.rand(x.shape[0], 1, 1, device=x.device) < keep).to(x.dtype) / keep


ATTENTIONS = dict(MSSA=MSSA, MHSA=MHSA, TSSA=TSSA)
FEEDFORWARDS = dict(ISTA=ISTA, ODL=ODL, MLP=MLP)
