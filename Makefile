# make demo      installs oodinv into .venv, inverts the sample photos and makes them older
# make test      the same environment with ruff, mypy, import-linter and all tests, on WORKERS processes
# make quick     the tests that take little time
# make docs      builds the documentation into site/ and fails on a broken link
# make commands  writes docs/commands.md again, from the help of each command
# make pictures  makes the pictures of README and docs again, from the sample photos
# make thumbnails  makes the small pictures beside the edit recipes again

PYTHON ?= python3
BIN := .venv/bin
OUT ?= demo-out
WORKERS ?= 3
# A third of the default, so that the demo takes less than five minutes on two cores.
REFINE ?= 16
TUNE ?= 16
RECIPES := older younger smile less-smile turn-left turn-right feminine masculine lighter-hair darker-hair
# One thread per process: the workers share the cores, and sums are rounded the same on every machine. Files keep the
# order of tests/conftest.py, slow ones first. mypy runs beside them.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder

.PHONY: demo test quick docs commands pictures thumbnails clean

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pytest pytest-xdist hypothesis ruff mypy \
	  import-linter types-PyYAML types-tabulate pytorch-msssim scikit-learn "ray[data]" c2pa-python \
	  onnxruntime onnx onnxscript openvino
	touch $@

.venv/.installed-docs: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt mkdocs-material
	touch $@

demo: .venv/.installed
	$(BIN)/oodinv invert samples -o $(OUT) --refine $(REFINE)
	$(BIN)/oodinv report $(OUT) --quiet
	$(BIN)/oodinv edit $(OUT) --recipe older --tune $(TUNE) -o $(OUT)-older
	@echo
	@echo "Look at $(OUT)/contact-sheet.png and report.html, then at $(OUT)/composites and $(OUT)/pasted;"
	@echo "$(OUT)/masks is white where the photo was kept. $(OUT)-older/contact-sheet.png shows the edit."

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy & mypy=$$!; $(PYTEST); tests=$$?; \
	  wait $$mypy || { echo "mypy found errors, see above the tests"; exit 1; }; exit $$tests

quick: .venv/.installed-dev
	$(PYTEST) -m "not slow"

docs: .venv/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

commands: .venv/.installed
	$(BIN)/python docs/commands.py

pictures: REFINE := 50
pictures: TUNE := 40
pictures: demo
	mkdir -p docs/images
	$(BIN)/python docs/before_after.py docs/images/before-after.jpg
	for technique in mask laplacian poisson; do \
	  $(BIN)/oodinv blend $(OUT) --technique $$technique -o $(OUT)-$$technique --quiet || exit 1; \
	done
	$(BIN)/python docs/row.py docs/images/techniques.jpg 0.4,0,1,0.6 photo=$(OUT)/aligned/jacinda-ardern-2022.png \
	  $(foreach technique,mask laplacian poisson,$(technique)=$(OUT)-$(technique)/composites/jacinda-ardern-2022.png)
	for recipe in $(RECIPES); do \
	  $(BIN)/oodinv edit $(OUT) --recipe $$recipe --strength 0.5,0.75,1 -o $(OUT)-$$recipe --restart --quiet && \
	  $(BIN)/python docs/shrink.py $(OUT)-$$recipe/strips/eileen-collins.png docs/images/$$recipe.jpg || exit 1; \
	done

thumbnails: .venv/.installed
	$(BIN)/python docs/thumbnails.py

clean:
	rm -rf .venv site $(OUT) $(addprefix $(OUT)-,$(RECIPES) mask laplacian poisson)
