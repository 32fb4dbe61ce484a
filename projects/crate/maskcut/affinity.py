"""The graph of MaskCut: which tokens look alike, and products with its matrix."""

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5  # affinity of tokens that do not look alike
DIGIT_BITS = 7  # the largest digit fits int8, and a sum of 2**16 digits fits the 24 bits of float32
NUM_DIGITS = 7
VECTOR_BITS = 46  # NUM_DIGITS digits, and a sum of 2**16 entries fits int64
MAX_TOKENS = 2**16
TILE = 1024  # cosines are computed in squares of this side: 4 MB, and of A's two halves one only


class AffinityGraph:
    """Tokens, joined where the cosine of their features exceeds tau (arXiv 2301.11320, Section 3.2; TokenCut).

    A_ij = 1 if cos(f_i, f_j) > tau else eps;  d_i = sum_j A_ij;  M = D^-1/2 A D^-1/2.

    A is stored as 0 and 1, in one byte where the processor multiplies bytes fast and in four elsewhere; eps is added by
    formula. Products are exact: a vector is rounded to 46 bits, and its seven 7-bit digits are the columns of one
    matrix. No summation order can change its integer products. So a result depends on neither threads nor processor,
    beyond the rounding of a few vector operations, and needs no matrix in double precision.

    Painting a token sets its feature to zero: its cosines are 0, which is an edge only where tau < 0.

    Args:
        features: (B, C, N), finite.
        tau: Threshold of the cosine.

    Attributes:
        degree: (B, N) float64, the row sums d.
        leading: (B, N) float64, D^1/2 1 scaled to unit length: the eigenvector of M with eigenvalue 1.
    """

    def __init__(self, features: Tensor, tau: float) -> None:
        self._edges = _edges(features, tau)
        self._zero_edge = float(tau < 0)  # the cosine of a zero feature is 0
        self._free = torch.ones(len(features), features.shape[-1], dtype=torch.float64, device=features.device)
        self._weigh()

    def __len__(self) -> int:
        return len(self._edges)

    def select(self, index: list[int]) -> 'AffinityGraph':
        """Return the graphs of some images, to be read and not painted; for all images this object itself."""
        if len(index) == len(self):
            return self
        chosen = object.__new__(AffinityGraph)
        chosen._zero_edge = self._zero_edge
        for name in ('_edges', '_free', 'degree', 'leading'):
            setattr(chosen, name, getattr(self, name)[index])
        return chosen

    def paint(self, masks: Tensor) -> None:
        """Set the features of the tokens in ``masks`` (B, N) to zero."""
        self._free = self._free.masked_fill(masks, 0)
        self._weigh()

    def normalised_product(self, vectors: Tensor) -> Tensor:
        """Return M v for one vector per image, (B, N) float64 -> (B, N) float64."""
        scale = self.degree.rsqrt()
        return scale * self._product(scale * vectors)

    def normalised_matrix(self, image: int) -> Tensor:
        """Return M of one image as a dense matrix, (N, N) float64, for solvers that need one."""
        free, scale = self._free[image], self.degree[image].rsqrt()
        edge = torch.where(free.outer(free) > 0, self._edges[image].double(), self._zero_edge)
        return scale.outer(scale) * (EPS + (1 - EPS) * edge)

    def _weigh(self) -> None:
        self.degree = self._product(torch.ones_like(self._free))
        self.leading = F.normalize(self.degree.sqrt(), dim=1)

    def _product(self, vectors: Tensor) -> Tensor:
        """Return A v: edges between free tokens from the matrix, all others by formula."""
        total, free = vectors.sum(1, keepdim=True), self._free * vectors
        edges = self._free * self._exact_product(free)
        edges = edges + self._zero_edge * (total - self._free * free.sum(1, keepdim=True))
        return EPS * total + (1 - EPS) * edges

    def _exact_product(self, vectors: Tensor) -> Tensor:
        """Return the 0/1 matrix times a vector rounded to 46 bits, without any further rounding."""
        unit = vectors.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny) / 2**VECTOR_BITS
        shifts = DIGIT_BITS * torch.arange(NUM_DIGITS, device=vectors.device)
        digits = (vectors / unit).round().long().unsqueeze(-1) >> shifts  # (B, N, digits); the last one has the sign
        digits[..., :-1] &= 2**DIGIT_BITS - 1
        if self._edges.dtype == torch.int8:
            pairs = zip(self._edges, digits.to(torch.int8))
            sums = torch.stack([torch._int_mm(edges, columns) for edges, columns in pairs])
        else:
            sums = self._edges @ digits.to(self._edges.dtype)
        return (sums.long() << shifts).sum(-1) * unit


def _edges(features: Tensor, tau: float) -> Tensor:
    """Return cos(f_i, f_j) > tau as 0 and 1: (B, C, N) -> (B, N, N), symmetric."""
    batch, _, count = features.shape
    edges = torch.zeros(batch, count, count, dtype=_edge_type(features.device), device=features.device)
    if tau >= 1:  # a rounded cosine may exceed 1, a cosine cannot
        return edges
    units = F.normalize(features.float(), dim=1)
    starts = range(0, count, TILE)
    for rows, columns in ((slice(i, i + TILE), slice(j, j + TILE)) for i in starts for j in starts if j >= i):
        tile = (units[:, :, rows].mT @ units[:, :, columns]).gt_(tau).to(edges.dtype)
        if rows == columns:
            tile = torch.minimum(tile, tile.mT)  # a matrix product may round cos(i, j) and cos(j, i) differently
        edges[:, rows, columns] = tile
        edges[:, columns, rows] = tile.mT
    return edges


def _edge_type(device: torch.device) -> torch.dtype:
    """Return int8 on processors that multiply bytes fast (AVX-512, best with VNNI or AMX), float32 elsewhere."""
    capability = torch.backends.cpu.get_cpu_capability() if torch.backends.mkldnn.is_available() else ''
    # torch < 2.4 multiplies bytes on GPUs only
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key('aten::_int_mm', 'CPU')
    is_fast = device.type == 'cpu' and has_kernel and capability.startswith('AVX512')
    return torch.int8 if is_fast else torch.float32
