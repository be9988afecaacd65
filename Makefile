# Two commands: `make demo` and `make test`. Each sets up all that it needs, on a fresh machine.
#
#   make demo     from synthetic speech to captions and a report: the recipe egs2/mini_emospeech, 15 to 18 minutes on two cores
#   make test     lint and all tests, both recipes through every stage included, at most 30 minutes on two cores; where Maven is
#                 present it gets SPICE's parser first (380 MB), elsewhere SPICE's tests are skipped;
#                 as root on Debian and the like it installs Slurm's packages (40 MB, no service is started) for the tests of
#                 slurm.pl, which are skipped elsewhere, and with SEC_NO_SLURM=1
#   make lint     ruff alone
#   make env      tools/venv alone
# TORCH_BACKEND=cpu (or cu128, ...) chooses another build of torch, PYTHON another Python: see tools/Makefile.

# Two at a time; a machine with more cores and memory can do more: make test PYTEST_OPTIONS="-n 8"
PYTEST_OPTIONS ?= -n 2
VENV := tools/venv/bin

.PHONY: demo test lint env

env:
	@$(MAKE) --no-print-directory -C tools

demo: env
	cd egs2/mini_emospeech/sec1 && ./run.sh

lint: env
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

test: lint
	@tools/installers/install_spice.sh || true
	@tools/installers/install_slurm.sh || true
	PATH="$(CURDIR)/$(VENV):$$PATH" $(VENV)/python -m pytest $(PYTEST_OPTIONS)
