# The environment of `make install` on Debian 13 (Python 3.13):
#   docker build -t crate .
#   docker run --rm -it crate make demo
# torch in it can use a GPU (docker run --gpus all); the ops of mmcv are built for CPUs, as the image has no CUDA toolkit.
FROM debian:trixie-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates g++ git libgl1 libglib2.0-0 make python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /crate
COPY . .
ENV MMCV_OPS=cpu PIP_NO_CACHE_DIR=1 PATH=/crate/.venv/bin:$PATH
RUN make install
CMD ["bash"]
