# Segments lungs on a CPU: docker build -t lung_seg .
# docker run --user "$(id -u)" -v "$PWD/films:/films" lung_seg /films output=/films/out
# and shows the page (docs/page.md), at the address that it prints:
# docker run --user "$(id -u)" -v "$PWD/films:/films" -p 127.0.0.1:8765:8765 --entrypoint lung-seg lung_seg serve host=0.0.0.0
FROM python:3.12-slim

# Versions that are tested. torch, for your own checkpoints, comes from the index of its CPU builds: the usual one
# brings gigabytes of CUDA.
WORKDIR /app
COPY requirements.txt requirements-dev.txt ./
RUN grep -hv '^-' requirements.txt requirements-dev.txt > pins.txt \
    && pip install --no-cache-dir --constraint=pins.txt --index-url=https://download.pytorch.org/whl/cpu torch

COPY LICENSE README.md pyproject.toml ./
COPY conf conf
COPY hydra_plugins hydra_plugins
COPY lung_seg lung_seg
RUN pip install --no-cache-dir --constraint=pins.txt '.[dicom,page]'

EXPOSE 8765
USER 1000
WORKDIR /films
ENTRYPOINT ["lung-seg", "predict"]
