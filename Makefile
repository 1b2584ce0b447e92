# SPDX-License-Identifier: Apache-2.0
#   make run | test              everything from nothing: packages, build, assets; then serve / all tests
#   make spec | ctest | browser  one part of the tests; make spec F=spec/http/wallet_spec.lua: one file
#   make contracts [FULL=1]      the contract's tests: quickly, or with every property 100,000 times and coverage (half an hour)
#   make | check | docs | bench | fuzz | vendor | format | install | clean
#   V=1 shows commands, DEBUG=1 and SAN=address|undefined|thread build in their own directories, SPEC=1 with fault points
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
SHELL := /bin/bash
Q := $(if $(V),,@)
say = @$(if $(V),:,printf '  %-5s %s\n' $(1) $(2))

BUILD := build$(if $(DEBUG),-debug)$(if $(SAN),-$(SAN))$(if $(SPEC),-spec)
PKGS := libmicrohttpd luajit libpq libcurl openssl libargon2 libsecp256k1 libavformat libavcodec libavutil \
        libswscale libswresample libseccomp freetype2
# Asked once, and only when something is compiled: `make run` starts before the packages are there.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $$(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)

CC := gcc
OPT := $(if $(DEBUG),-O0 -g3,-O2 -g)
ifeq ($(SAN),)
  HARDEN := $(if $(DEBUG),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fstack-clash-protection -fcf-protection
else ifeq ($(SAN),fuzz)
  CC := clang-14
  OPT := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer
  SANLINK := -fsanitize=address,undefined
  NOWARN := -w # gcc is the judge of warnings
else
  OPT := -O1 -g -fsanitize=$(SAN) -fno-omit-frame-pointer $(if $(filter undefined,$(SAN)),-fno-sanitize-recover=all)
  # The checks that a sanitizer inserts confuse these two.
  NOWARN := -Wno-format-truncation -Wno-maybe-uninitialized
  SANLINK := -fsanitize=$(SAN)
endif
# -D_GNU_SOURCE= is the very text of `#define _GNU_SOURCE`, so files may say it themselves.
CFLAGS := -std=gnu17 -D_GNU_SOURCE= $(if $(SPEC),-DSPEC=1) $(OPT) -Wall -Wextra -Wshadow -Werror $(NOWARN) $(HARDEN) \
          -fno-strict-overflow -fPIE -fvisibility=hidden -pthread -Iengine
LDFLAGS := -pie -pthread $(SANLINK) -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
# The library and libpq allocate dozens of small blocks for each request; sanitizers bring an allocator of their own.
LIBS = $(if $(SAN),,-lmimalloc) $(PKG_LIBS) -lm

SRC := $(sort $(wildcard engine/*/*.c))
OBJ := $(SRC:%.c=$(BUILD)/obj/%.o)
LIBOBJ := $(filter-out $(BUILD)/obj/engine/app/main.o,$(OBJ))
CTEST := $(patsubst spec/c/%.c,$(BUILD)/ctest/%,$(sort $(wildcard spec/c/test_*.c)))
FUZZ := $(patsubst spec/fuzz/%.c,%,$(sort $(wildcard spec/fuzz/fuzz_*.c)))
JOBS := -j$(shell nproc 2>/dev/null || echo 1)
SUB = $(MAKE) --no-print-directory $(JOBS)

.PHONY: all deps setup vendor run test ctest spec browser contracts check docs docs-fresh bench fuzz fuzzers format install clean
.PHONY: $(BUILD)/ctest
.SECONDARY:
all: $(BUILD)/ppv

$(BUILD)/ppv: $(OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(OBJ) $(LIBS)

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

# Test and fuzz programs take from here what they need.
$(BUILD)/engine.a: $(LIBOBJ)
	$(Q)rm -f $@ && ar rcs $@ $(LIBOBJ)

$(BUILD)/ctest/%: $(BUILD)/obj/spec/c/%.o $(BUILD)/engine.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(BUILD)/engine.a $(LIBS)

$(BUILD)/ctest/.all: $(CTEST)
	@mkdir -p $(@D) && touch $@

# Builds and runs the C tests; all of them run, also after a failure.
$(BUILD)/ctest: $(BUILD)/ctest/.all
	@failed=0; for t in $(CTEST); do $$t || failed=1; done; exit $$failed
ctest: $(BUILD)/ctest

# ---- set-up: what is missing is installed, what is there is left alone ----
deps:
	@deploy/install-deps.sh

# Browser libraries: the versions of the lock file, never from a CDN at run time, never committed.
vendor: static/vendor/.done
static/vendor/.done: static/package.json static/package-lock.json static/vendor.sh
	@echo "Fetching the browser libraries named in static/package-lock.json (once, some seconds) ..."
	$(Q)npm ci --prefix static --ignore-scripts --no-audit --no-fund --loglevel=error
	$(Q)sh static/vendor.sh && touch $@

# A second make asks pkg-config afresh.
setup: deps
	@[ -e $(BUILD)/ppv ] || echo "Building the engine (about two minutes on two cores, the first time only) ..."
	@$(SUB) all vendor $(ALSO)

# ---- the commands of the README ----
run: setup
	@exec $(BUILD)/ppv serve --demo $(ARGS)

test: ALSO = $(BUILD)/ctest/.all
test: setup
	@BUILD=$(BUILD) spec/run.sh

spec: all
	@BUILD=$(BUILD) T='$(T)' spec/run.sh lua $(F)
browser: all vendor
	@BUILD=$(BUILD) spec/run.sh browser

contracts:
	@$(if $(FULL),for t in splitter differential forge; do FULL=1 nice -n 10 node spec/chain/$$t.mjs || exit 1; done,\
	  spec/run.sh chain spec/chain/splitter.mjs spec/chain/forge.mjs)

check: all docs-fresh
	@failed=0; export BUILD=$(BUILD); \
	for c in spec/check/*.sh; do [ ! -e "$$c" ] || bash "$$c" || failed=1; done; \
	for c in spec/check/*.lua; do [ ! -e "$$c" ] || luajit "$$c" || failed=1; done; \
	[ $$failed = 0 ] && echo "check: ok"
docs-fresh: all
	@luajit scripts/cli/apidoc.lua --check
	@$(BUILD)/ppv conf --reference | diff -q - ppv.conf >/dev/null || { echo "ppv.conf does not list the engine's keys: make docs"; exit 1; }
docs: all
	@luajit scripts/cli/apidoc.lua
	@$(BUILD)/ppv conf --reference >ppv.conf

bench: all vendor
	@BUILD=$(BUILD) bench/run.sh

fuzzers: $(FUZZ:%=$(BUILD)/%)
$(BUILD)/fuzz_%: $(BUILD)/obj/spec/fuzz/fuzz_%.o $(BUILD)/engine.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $(BUILD)/engine.a $(LIBS)
# T = seconds for each driver.
fuzz:
	@$(SUB) SAN=fuzz fuzzers
	@for f in $(FUZZ); do mkdir -p build-fuzz/corpus/$$f; \
	  build-fuzz/$$f -max_total_time=$(or $(T),20) -timeout=5 -rss_limit_mb=1024 -artifact_prefix=build-fuzz/$$f- \
	    build-fuzz/corpus/$$f $$(ls -d spec/fuzz/seeds/$$f 2>/dev/null) >build-fuzz/$$f.log 2>&1 \
	    || { tail -40 build-fuzz/$$f.log; exit 1; }; \
	  echo "$$f: $$(grep '^Done' build-fuzz/$$f.log)"; done

format:
	@clang-format-14 -i $(wildcard engine/*/*.[ch] spec/c/*.[ch] spec/fuzz/*.[ch])

install: all vendor
	install -D $(BUILD)/ppv $(DESTDIR)/opt/ppv/build/ppv
	cp -r scripts plugins sql static $(DESTDIR)/opt/ppv/
	rm -rf $(DESTDIR)/opt/ppv/static/node_modules

clean:
	rm -rf build build-* static/vendor

-include $(OBJ:.o=.d) $(CTEST:$(BUILD)/ctest/%=$(BUILD)/obj/spec/c/%.d)
