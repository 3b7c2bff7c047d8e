# skelssl in a container; docs/install.md says how to build and use it, and that nobody has built it yet.
FROM python:3.11-slim

# CPU wheels: docker build --build-arg PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" .
ARG PIP_ARGS=""

WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY conf conf
COPY src src
RUN pip install $PIP_ARGS -c constraints.txt -e .

# Everything is written to the folder one is in; any user may, so that --user takes that of the host.
RUN useradd --home-dir /runs --create-home skelssl && chmod 1777 /runs
ENV HOME=/runs
WORKDIR /runs
USER skelssl
ENTRYPOINT ["skelssl"]
CMD ["--help"]
