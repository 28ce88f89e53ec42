# SPDX-License-Identifier: Apache-2.0
# The commands of this repository. `make help` explains them; CMake and Ninja do the work.
.PHONY: help demo build test check docs page goldens fuzz faults soak proof model peers fresh clean \
        test-build test-unit test-asan test-tsan test-fuzz test-e2e
.NOTPARALLEL:
JOBS := $(shell nproc)
NINJA := ninja -j $(JOBS) $(if $(MAKE_TERMOUT),,--quiet)
VIBEE := build/release/bin/vibee

help:   ## this list
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p; s/^\([a-z]*\):\t*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: build  ## install, build, fetch a small model and talk to it; without a network, to the one in the binary
	@if $(VIBEE) pull smollm2-135m; then \
	  $(VIBEE) run smollm2-135m --demo "Explain in three sentences why the sky is blue."; \
	else \
	  echo "No model could be fetched: the one in the binary tells a story."; \
	  $(VIBEE) run --demo "Once upon a time"; \
	fi

build:  ## install packages, build build/release/bin/vibee and lib/libvibee.so, print the slowest source files
	@tools/install.sh build
	@mkdir -p build && cmake --preset release > build/cmake.log 2>&1 || { cat build/cmake.log; exit 1; }
	@$(NINJA) -C build/release vibee libvibee
	@tools/slowest build/release

test: test-build test-unit test-asan test-tsan test-fuzz test-e2e  ## install, build and run every test (the parts: test-unit, test-asan, ...)
	@echo "make test: all passed"

test-build: build
	@tools/install.sh test
	@$(NINJA) -C build/release
	@tools/slowest build/release --limit 40

test-unit:
	@cd build/release && ctest --output-on-failure -j $(JOBS)

test-asan:
	@tools/sanitize.sh asan

test-tsan:
	@tools/sanitize.sh tsan

test-fuzz:
	@tools/fuzz.sh 10

test-e2e:
	@if [ -x tests/e2e.sh ]; then tests/e2e.sh; fi

check: build  ## clang-format, clang-tidy on changed files, layout checks
	@tools/install.sh check
	@tools/check.sh
	@cd build/release && ctest --output-on-failure -L layout

docs: build  ## write docs/techniques.md and docs/verbs
	@tools/docs_fresh --write $(VIBEE)

goldens:  ## make the committed golden data again: make goldens SMOLLM2=FILE GEMMA3=FILE
	@tools/goldens.sh $(SMOLLM2) $(GEMMA3)

page: build  ## drive the page of vibee serve in headless Chromium, screenshots in build/page
	@tools/install.sh page
	@$(VIBEE) pull smollm2-135m > /dev/null && $(VIBEE) pull gemma3-270m > /dev/null
	@/usr/bin/python3 tests/page_test.py $(VIBEE) smollm2-135m gemma3-270m --shots build/page

fuzz:  ## fuzz every target for 30 minutes, write bench/results/fuzz-DATE.json
	@tools/install.sh build test
	@tools/fuzz.sh 1800 --record

faults: build  ## make every call of a request's life fail in turn under a server: memory, files, sockets
	@$(NINJA) -C build/release make_tiny_model fault_inject
	@tests/adversity.sh --every

soak: build  ## a server under load and faults for 30 minutes, recorded in bench/results; then the tests in random order for an hour
	@$(NINJA) -C build/release
	@tools/soak.sh 30 60

proof: build  ## every technique's full check on this machine
	@$(VIBEE) tree check --full

model: build  ## train the model in the binary again, and write docs/default_model.md (about 20 minutes)
	@tools/default_model.sh

peers: build  ## build llama.cpp and print the table beside it
	@bench/peers/llama_cpp.sh

fresh:  ## try `make demo` and `make test` on a fresh Debian 12 folder (root)
	@tools/fresh.sh

clean:  ## remove what was built
	@rm -rf build
