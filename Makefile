# The two commands are `make demo` and `make test`; the rest are their parts.
# Everything that is more than a line lies in scripts/ or in xtask.

# rustup's folder is often missing from the PATH of a fresh shell.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help demo test check dist bench setup setup-tests

help:
	@echo 'make demo    sets this machine up, builds, and hosts an agent before your eyes'
	@echo 'make test    sets this machine up and runs every check and every test'
	@echo 'make check   the gate without the client tests: what to run before a commit'
	@echo 'make dist    the release binary, in target/dist'
	@echo 'make bench   the benchmarks of docs/SPECIFICATION.md'

demo: setup
	@cargo build --locked --profile demo --package cli
	@target/demo/hostel demo --data target/demo-data

test: setup-tests
	@cargo xtask check --everything

check:
	@cargo xtask check

dist: setup
	@cargo xtask dist

bench: setup-tests
	@cargo xtask bench

setup:
	@scripts/setup

setup-tests:
	@scripts/setup --tests
