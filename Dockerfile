# The app in a container, and on Hugging Face Spaces (sdk: docker). Model and task data lie in the
# image: nothing is fetched when it starts.
FROM python:3.11-slim

# Spaces run an image as user 1000.
RUN useradd --create-home --uid 1000 user
USER user
WORKDIR /home/user/app

ENV HOME=/home/user \
    PATH=/home/user/venv/bin:$PATH \
    ADARANK_HOME=/home/user/adarank \
    PYTHONUNBUFFERED=1

# torch without CUDA, which would add gigabytes. With a GPU: --build-arg PIP_EXTRA_INDEX_URL=
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_NO_CACHE_DIR=1

COPY --chown=user requirements.txt ./
RUN python3.11 -m venv /home/user/venv && pip install -r requirements.txt

COPY --chown=user adarank_core ./adarank_core
RUN python -c "import adarank_core as ar; ar.load_model('embedded'); ar.load_task('docstrings')"

COPY --chown=user .streamlit ./.streamlit
COPY --chown=user assets ./assets
COPY --chown=user pages ./pages
COPY --chown=user app.py ./

EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
# A Space is shown in a frame of another site, where a browser sends the cookie that an upload needs
# only when it says SameSite=None. Such a cookie is for https alone, so elsewhere it stays as it is.
# A Space is open to strangers, so it is a demo unless ADARANK_DEMO=0 is set; a container is its
# owner's, so it is none unless ADARANK_DEMO=1 is.
CMD ["sh", "-c", "ADARANK_DEMO=${ADARANK_DEMO-${SPACE_ID:+1}} exec streamlit run app.py --server.address=0.0.0.0 --server.port=8501 --server.headless=true ${SPACE_ID:+--server.xsrfCookieSameSite=none}"]
