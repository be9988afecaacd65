# Two commands: `make demo` and `make test`. Each installs what it needs on a fresh machine.
#
#   make demo     from synthetic speech to captions and a report: the recipe egs2/mini_emospeech, 8 minutes on two cores
#   make test     lint and all tests, the recipes through every stage included, 30 to 40 minutes on two cores.
#                 With Maven it first installs SPICE's parser (380 MB); without, SPICE's tests are skipped.
#                 SLURM=1 make test, as root on Debian and the like, installs Slurm's packages (40 MB, no service is
#                 started) for the tests of slurm.pl, which are skipped where Slurm is not installed. Continuous
#                 integration (CI set in the environment) installs them too; SLURM=0 prevents it.
#   make test-quick  lint and the tests that are not marked slow (test/marks.py), 3 minutes: before each commit
#   make lint     ruff only
#   make env      tools/venv only
#   make mutants  mutation testing: do the tests of a room notice a small change of its code? Not in CI; half an hour.
#                 make mutants MUTANTS="--count 20 --seed 7 --rooms loss,model"
# TORCH_BACKEND=cpu (or cu128, ...) selects another build of torch, PYTHON another Python: see tools/Makefile.

# Test processes: twice the cores of a small machine, since many tests wait. Each takes 1.2 GB. Another number:
# make test PYTEST_OPTIONS="-n 8"
PYTEST_OPTIONS ?= -n 4
VENV := tools/venv/bin

.PHONY: demo test test-quick lint env mutants

env:
	@$(MAKE) --no-print-directory -C tools

demo: env
	cd egs2/mini_emospeech/sec1 && ./demo.sh

lint: env
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

test: lint
	@tools/installers/install_spice.sh || true
	@tools/installers/install_slurm.sh || true
	PATH="$(CURDIR)/$(VENV):$$PATH" $(VENV)/python -m pytest $(PYTEST_OPTIONS)

test-quick: lint
	PATH="$(CURDIR)/$(VENV):$$PATH" $(VENV)/python -m pytest $(PYTEST_OPTIONS) -m "not slow"

mutants: env
	PATH="$(CURDIR)/$(VENV):$$PATH" PYTHONPATH="$(CURDIR)" $(VENV)/python tools/mutants.py $(MUTANTS)
