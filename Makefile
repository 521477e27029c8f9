# The checks, by name, for a person, the pre-commit hooks and .ci/run: make test, make lint ...
.PHONY: all test format lint types docs audit quickstart

all: lint types test audit quickstart

# Includes the examples of docstrings and the commands of README.md.
test:
	pytest

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
