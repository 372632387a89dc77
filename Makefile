# The commands of the project. Those that need them install the packages on first use.
# The interpreter that makes the environment.
BASE_PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
WHEELHOUSE ?= wheelhouse
# The Python version the wheelhouse is for.
PYTHON ?= 3.12

.PHONY: install demo quickstart test lint format docs wheelhouse clean

install: $(INSTALLED)

$(INSTALLED): setup.cfg constraints.txt tools/install_detectron2.py
	$(BASE_PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt torch torchvision
	$(RUN) tools/install_detectron2.py
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# The ready model answers, about a drawn scene or an image of your own:
# make demo IMAGE=photo.jpg SENTENCE="the leftmost airplane"
demo: $(INSTALLED)
	$(RUN) tools/demo.py $${IMAGE:+--image "$$IMAGE"} $${SENTENCE:+--sentence "$$SENTENCE"}

# Draw synthrs, train for six minutes, score, draw.
quickstart: $(INSTALLED)
	$(RUN) tools/quickstart.py

# Two processes of one thread each: most tests are too small to keep two threads busy.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses 2 --dist loadfile

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(INSTALLED)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# The documentation as web pages, in output/site; a link that leads nowhere is an error.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --strict --site-dir output/site

# Wheels for a machine without network that already has torch: make wheelhouse PYTHON=3.12
wheelhouse: $(INSTALLED)
	$(RUN) tools/build_wheelhouse.py --python $(PYTHON) --output $(WHEELHOUSE)

clean:
	rm -rf $(VENV) $(WHEELHOUSE) output
