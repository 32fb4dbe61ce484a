# The environment of `make install` on Debian 13 (Python 3.13):
#   docker build -t crate --target crate .
#   docker run --rm -it crate make demo
# The live page (docs/app.md), which is also what a Hugging Face Space builds:
#   docker build -t crate-app .
#   docker run --rm -p 7860:7860 crate-app
# torch in it can use a GPU (docker run --gpus all); the ops of mmcv are built for CPUs, as the image has no CUDA toolkit.
FROM debian:trixie-slim AS crate

RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates g++ git libgl1 libglib2.0-0 make python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /crate
COPY . .
ENV MMCV_OPS=cpu PIP_NO_CACHE_DIR=1 PATH=/crate/.venv/bin:$PATH
RUN make install
CMD ["bash"]

FROM crate AS app
# no rights, as in a Space; the only place to write is /tmp
USER 1000
ENV HOME=/tmp
EXPOSE 7860
CMD ["python", "tools/app.py", "--host", "0.0.0.0"]
