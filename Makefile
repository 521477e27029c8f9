# The checks, by name, for a person, the pre-commit hooks and .ci/run: make test, make lint ...
.PHONY: all test lowest format lint types docs audit quickstart

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
