# What a developer runs; `.ci/run` runs the same. Needs Python 3.11 or later; `make peers` needs a Debian machine.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PEERS  := mosquitto faketime curl openssl mender-artifact grub-editenv:grub-common fw_setenv:libubootenv-tool rauc dbus-daemon:dbus \
          mksquashfs:squashfs-tools systemd-analyze:systemd initdb:postgresql softhsm2-util:softhsm2 pkcs11-tool:opensc \
          chromium

# For a Debian guest with systemd; it needs root.
GUESTS := systemd-nspawn:systemd-container mmdebstrap mke2fs:e2fsprogs
# For containers, by a Docker engine that the tests start; they need root, too.
ENGINE := dockerd:docker.io docker:docker.io /bin/busybox:busybox-static
# To boot the real GRUB and U-Boot.
EMULATOR := qemu-system-x86_64:qemu-system-x86 /usr/lib/grub/i386-pc/boot.img:grub-pc-bin \
            qemu-system-aarch64:qemu-system-arm /usr/lib/u-boot/qemu_arm64/u-boot.bin:u-boot-qemu

# What the benchmarks compare the agent with.
RIVALS := mender:mender-client swupdate /usr/sbin/nginx:nginx-light curl openssl cpio ip:iproute2

# What is installed is in the locks, with the hash of each file; nothing is built but this project.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
LOCKED := $(PIP) --require-hashes --only-binary :all: --requirement
UV := 0.13.9
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --only-binary :all: $(UPGRADE) --group pyproject.toml:build pyproject.toml --extra controller

# What was compiled once need not be compiled again by each of the thousands of processes that tests start.
unexport PYTHONDONTWRITEBYTECODE

# Most tests wait for a process at times: one worker more than there are processors. A file is for one worker, so that
# what its tests share is started once.
WORKERS := $(shell expr 1 + $$(nproc))

.PHONY: help demo test test-long check format bench peers lock audit clean
help:
	@echo "make demo       the whole system on this machine: broker, controller, 12 agents, one rollout"
	@echo "make test       the tests (a few minutes); installs Mosquitto, PostgreSQL and others where they are missing"
	@echo "make test-long  the tests that take longer: many kills, many inputs"
	@echo "make check      formatting, lint and types"
	@echo "make bench      the figures of benchmarks/README.md"
	@echo "make lock       the locks anew, after a change of pyproject.toml; UPGRADE=--upgrade for newer versions"
	@echo "make audit      known vulnerabilities of what is locked, where their data can be reached"

$(VENV)/.demo: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Wainwright needs Python 3.11 or later: set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(LOCKED) requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.demo requirements-dev.lock
	$(LOCKED) requirements-dev.lock
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/wainwright demo $(ARGS)

peers:
	@sh tests/support/install-peers $(PEERS)

test: $(VENV)/.dev peers
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-long: $(VENV)/.dev peers
	@sh tests/support/install-peers $(EMULATOR)
	@sh tests/support/install-peers $(GUESTS)
	@sh tests/support/install-peers $(ENGINE)
	@sh tests/support/install-compose
	$(BIN)/python -m pytest -m long --timeout 3600 $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev peers
	@sh tests/support/install-peers $(RIVALS)
	$(BIN)/python -m benchmarks

# The tools of these two are fetched when they are needed: they see to the lock, and are not in it.
lock: $(VENV)/.demo
	$(PIP) uv==$(UV)
	$(LOCK) --output-file requirements.lock
	$(LOCK) --extra postgresql --extra dev --constraint requirements.lock --output-file requirements-dev.lock

audit: $(VENV)/.demo
	$(PIP) pip-audit
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements-dev.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis fuzz-faults
