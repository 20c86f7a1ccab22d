# docker build -t sedd . && docker run --rm -it -v "$PWD/runs:/sedd/runs" sedd make quickstart
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /sedd
COPY . .
RUN make set-up
ENV PATH="/sedd/.venv/bin:$PATH"
CMD ["sedd", "doctor"]
