# The checks, by name, for a person, the pre-commit hooks and .ci/run: make test, make lint ...
.PHONY: all test lowest format lint types docs audit quickstart fuzz mutants

all: lint types test audit quickstart

# Includes the examples of docstrings and the commands of README.md.
test:
	pytest

# The tests with the lowest versions that pyproject.toml allows, in a new environment with the oldest Python; by hand, after a
# change of a bound. torch is the pinned one: of others pip installs CUDA builds of several GB. Old versions may warn.
lowest:
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; set -e; torch=$$(grep '^torch==' requirements.txt); \
	python3.11 -m venv "$$folder" && . "$$folder/bin/activate"; \
	pip install --quiet uv "$$torch"; \
	uv pip install --resolution lowest-direct "$$torch" --requirements pyproject.toml --all-extras; \
	pytest -W default

format:
	ruff format .
	ruff check --fix .

lint:
	ruff check .
	ruff format --check .

types:
	mypy

# Only those examples and commands.
docs:
	pytest lung_seg tests/test_readme.py

# Known vulnerabilities of the installed packages fail. A service that cannot be reached, or does not know a package, only
# prints a line. An exception would be --ignore-vuln=<id> here, with its reason; there is none.
audit:
	@report=$$(mktemp); trap 'rm -f "$$report"' EXIT; \
	if ! pip-audit --skip-editable --progress-spinner=off --format=json --output="$$report" && [ -s "$$report" ]; then \
		cat "$$report"; exit 1; \
	elif [ -s "$$report" ]; then \
		echo "pip-audit had no answer for $$(grep -o '"skip_reason"' "$$report" | wc -l) packages."; \
	else \
		echo "pip-audit had no answer."; \
	fi

quickstart:
	python train.py

# Damaged and random files for ten minutes, other ones each time. Hypothesis keeps what fails in .hypothesis/ and tries it first
# the next time; once mended, it belongs in FOUND of tests/test_any_file.py.
fuzz:
	LUNG_SEG_FUZZ=60 pytest tests/test_any_file.py tests/raw/test_any_bytes.py tests/raw/test_pixels_property.py

# 200 changes of the code that reads and predicts, drawn with a fixed seed: which of them does no test notice? An hour of two
# cores; make mutants MUTANTS=6 tries six. mutmut changes functions only; `mutmut show <name>` prints a change. CONTRIBUTING.md
# says which may survive.
MUTANTS = 200
mutants:
	pip install --quiet mutmut==3.8.1
	mutmut run none > /dev/null 2>&1 || true  # writes them all, and none is called so
	mutmut run --max-children 2 $$(python tests/draw_mutants.py $(MUTANTS))
	mutmut results | grep -v 'not checked' || echo 'Each was noticed.'
