# vidpipe on a CPU. docker build -t vidpipe . && docker run --rm -v "$PWD:/footage" vidpipe run in.mp4 --mode pixelize
FROM python:3.11-slim

# PyTorch's index of CPU wheels, from its installation page; without it PyTorch brings several GB of CUDA.
ARG TORCH_INDEX=
WORKDIR /src
COPY . .
RUN if [ -n "$TORCH_INDEX" ]; then pip install --no-cache-dir "torch<2.14" --index-url "$TORCH_INDEX"; fi \
  && pip install --no-cache-dir --constraint requirements/constraints.txt '.[cpu]' \
  && rm -rf /src

RUN useradd --create-home vidpipe
USER vidpipe
WORKDIR /footage
ENTRYPOINT ["vidpipe"]
CMD ["--help"]
