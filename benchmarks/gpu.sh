#!/usr/bin/env bash
# bash benchmarks/gpu.sh WHEELS OUT [--train NET --faces FOLDER --clips NPY --max-minutes 9] [ARGUMENTS of benchmarks.gpu]
# On a machine with a GPU and no network: puts the wheels of a folder beside the Python that has PyTorch, trains a network
# if it is given data, runs the tests that need a GPU and the benchmark, and writes OUT/gpu.json after each step. The
# weights and the state of the training lie in OUT, too. A wheel that cannot be installed is named and left out.
# On a machine that ends a command after ten minutes: one with --train ... --only, then one without --train.
# The wheels, fetched where there is a network, for the GPU machine's Python (here 3.12):
#   python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
#     --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 -d WHEELS \
#     -c requirements/constraints.txt -r requirements/gpu-wheels.txt -r requirements/gpu-wheels-nvidia.txt
#   NVIDIA_TENSORRT_DISABLE_INTERNAL_PIP=1 python3 -m pip wheel --no-deps -w WHEELS tensorrt-rtx-cu12
# TensorRT itself comes with the machine, or from NVIDIA's own index: the package index has no wheel of its libraries.
# Tests marked gpu, dali and trt may not be skipped: without the second list set VIDPIPE_REQUIRE=gpu.
set -u
wheels=${1:?folder of wheels}; out=${2:?folder for gpu.json}; shift 2
[ -d "$wheels" ] || { echo "$wheels: no such folder of wheels" >&2; exit 1; }
root=$(cd "$(dirname "$0")/.." && pwd); python=${PYTHON:-python3}
site=$(mktemp -d); mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1; trap 'rm -rf "$site"' EXIT
for wheel in "$wheels"/*.whl; do
  [ -e "$wheel" ] || { echo "$wheels holds no wheels" >&2; break; }
  # each by itself, then put together: --target would replace a folder that two share, such as nvidia
  one=$(mktemp -d "$site/one.XXXXXX")
  if "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$one" "$wheel" \
    2>>"$out/wheels.log"; then cp -a "$one/." "$site/"; else echo "left out: $(basename "$wheel") (see wheels.log)" >&2; fi
  rm -rf "$one"
done
[ -s "$out/wheels.log" ] || rm -f "$out/wheels.log"
# vidpipe runs from its checkout; its version is what importlib.metadata is asked for.
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$root/vidpipe/__init__.py")
mkdir -p "$site/vidpipe-$version.dist-info"
printf 'Metadata-Version: 2.1\nName: vidpipe\nVersion: %s\n' "$version" >"$site/vidpipe-$version.dist-info/METADATA"
export PYTHONPATH="$site:$root${PYTHONPATH:+:$PYTHONPATH}" VIDPIPE_CACHE="${VIDPIPE_CACHE:-$site/cache}"
"$python" -m benchmarks.gpu --out "$out/gpu.json" "$@"
