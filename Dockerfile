# Finds lungs on a CPU: docker build -t lung_seg .
# docker run --user "$(id -u)" -v "$PWD/films:/films" lung_seg input=/films output=/films/out
FROM python:3.12-slim

# What predict.py and reading DICOM need, in the versions that are tested; training and the tests need much more.
# torch comes from the index of its CPU builds: the usual one brings gigabytes of CUDA.
WORKDIR /app
COPY requirements.txt requirements-dev.txt ./
RUN grep -hv '^-' requirements.txt requirements-dev.txt > pins.txt \
    && pip install --no-cache-dir --constraint=pins.txt --index-url=https://download.pytorch.org/whl/cpu torch \
    && pip install --no-cache-dir --constraint=pins.txt hydra-core omegaconf numpy opencv-python-headless pillow \
        safetensors tqdm filelock pydicom highdicom pyjpegls python-gdcm

COPY LICENSE predict.py ./
COPY conf conf
COPY lung_seg lung_seg

USER 1000
WORKDIR /films
ENTRYPOINT ["python", "/app/predict.py"]
