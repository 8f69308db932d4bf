# make demo   installs oodinv into .venv and inverts the sample photos
# make test   the same environment with ruff, mypy, import-linter and pytest
# make strips the README's pictures of each edit recipe, from the results of make demo

PYTHON ?= python3
BIN := .venv/bin
OUT ?= demo-out
RECIPES := older younger smile less-smile turn-left turn-right feminine masculine lighter-hair darker-hair

.PHONY: demo test strips clean

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pytest hypothesis ruff mypy import-linter types-PyYAML pytorch-msssim "ray[data]" c2pa-python
	touch $@

demo: .venv/.installed
	$(BIN)/oodinv invert samples -o $(OUT)
	$(BIN)/oodinv report $(OUT) --quiet
	@echo
	@echo "Look at $(OUT)/contact-sheet.png and report.html, then at $(OUT)/composites and $(OUT)/pasted;"
	@echo "$(OUT)/masks is white where the photo was kept."

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

strips: demo
	mkdir -p docs
	for recipe in $(RECIPES); do \
	  $(BIN)/oodinv edit $(OUT) --recipe $$recipe --strength 0.5,1,1.5 -o $(OUT)-$$recipe --quiet && \
	  cp $(OUT)-$$recipe/strips/eileen-collins.png docs/$$recipe.png || exit 1; \
	done

clean:
	rm -rf .venv $(OUT) $(addprefix $(OUT)-,$(RECIPES))
