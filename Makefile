# SPDX-License-Identifier: Apache-2.0
#   make run | test         everything from nothing: packages, build, assets, then serve / every test
#   make | check | spec | bench | fuzz | vendor | format | clean
#   V=1 shows commands, DEBUG=1 is unoptimised, SAN=address|undefined|thread builds with a sanitizer in its own directory
#   make spec T=tag F=spec/http/x_spec.lua   a part of the specs

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
Q := $(if $(V),,@)
say = @$(if $(V),:,printf '  %-6s %s\n' $(1) $(2))

B := build$(if $(DEBUG),/debug)$(if $(SAN),/$(SAN))
PACKAGES := libmicrohttpd luajit libpq libcurl openssl libargon2 libsecp256k1 libavformat libavcodec \
            libavutil libswscale libswresample libseccomp

# Asked once, and only when something is compiled: `make run` starts before the packages are there.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell pkg-config --cflags $(PACKAGES)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $$(shell pkg-config --libs $(PACKAGES)))$(PKG_LIBS)

CC := gcc
WARN := -Wall -Wextra -Wshadow -Werror
OPT := $(if $(DEBUG),-O0 -g3,-O2 -g)
ifeq ($(SAN),)
  HARDEN := $(if $(DEBUG),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fstack-clash-protection
else ifeq ($(SAN),fuzz)
  CC := clang-14
  OPT := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer
  LINK_SAN := -fsanitize=address,undefined
else
  OPT := -O1 -g -fsanitize=$(SAN) -fno-omit-frame-pointer $(if $(filter undefined,$(SAN)),-fno-sanitize-recover=all)
  LINK_SAN := -fsanitize=$(SAN)
endif
CFLAGS := -std=gnu17 -D_GNU_SOURCE= $(OPT) $(WARN) $(HARDEN) -fPIE -fvisibility=hidden -pthread -Iengine
LDFLAGS := -pie -pthread $(LINK_SAN) -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed

SRC := $(sort $(wildcard engine/*/*.c))
OBJ := $(SRC:%.c=$B/obj/%.o)
LIB_OBJ := $(filter-out $B/obj/engine/app/main.o,$(OBJ))
TEST_OBJ := $(patsubst %.c,$B/obj/%.o,$(sort $(wildcard spec/c/*.c)))
FUZZ := $(patsubst spec/fuzz/%.c,%,$(sort $(wildcard spec/fuzz/fuzz_*.c)))
FUZZ_TIME ?= 20
JOBS := -j$(shell nproc 2>/dev/null || echo 1)
FORMATTED = $(wildcard engine/*/*.[ch] spec/c/*.[ch] spec/fuzz/*.[ch])

.PHONY: all ctest check run test spec bench fuzz fuzzers vendor format clean deps ready
all: $B/ppv

$B/ppv: $(OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(OBJ) $(PKG_LIBS) -lm

# Test programs take from here what they need.
$B/engine.a: $(LIB_OBJ)
	$(Q)rm -f $@ && ar rcs $@ $(LIB_OBJ)

ctest: $B/ctest
$B/ctest: $(TEST_OBJ) $B/engine.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(TEST_OBJ) $B/engine.a $(PKG_LIBS) -lm

$B/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJ:.o=.d) $(TEST_OBJ:.o=.d)

# ---- front-end assets: exactly the versions of the lock file, never from a CDN at run time ----
vendor: static/vendor/.stamp
static/vendor/.stamp: static/package.json static/package-lock.json static/vendor.sh
	@echo "Fetching the browser libraries named in static/package-lock.json (once, some seconds) ..."
	$(Q)npm ci --prefix static --ignore-scripts --no-audit --no-fund --loglevel=error
	$(Q)sh static/vendor.sh
	@touch $@

# ---- the two commands of the README ----
deps:
	@deploy/install-deps.sh

ready: deps
	@echo "Building the engine (the first time about two minutes on two cores) ..."
	@$(MAKE) --no-print-directory $(JOBS) all
	@$(MAKE) --no-print-directory vendor

run: ready
	@exec build/ppv serve --demo $(ARGS)

test: ready
	@$(MAKE) --no-print-directory $(JOBS) ctest
	@spec/run.sh

spec: all vendor
	@T='$(T)' F='$(F)' spec/run.sh $(F)

# ---- checks ----
check: all
	@B=$B; failed=0; export B; \
	for c in spec/check/*.sh; do [ -e "$$c" ] || continue; bash "$$c" || failed=1; done; \
	for c in spec/check/*.lua; do [ -e "$$c" ] || continue; echo "$$c"; luajit "$$c" || failed=1; done; \
	[ $$failed = 0 ] && echo "check: ok"

format:
	@clang-format-14 -i $(FORMATTED)

bench: all vendor
	@bench/run.sh

fuzzers: $(FUZZ:%=$B/%)
$B/fuzz_%: $B/obj/spec/fuzz/fuzz_%.o $B/engine.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $B/engine.a $(PKG_LIBS) -lm

fuzz:
	@$(MAKE) --no-print-directory $(JOBS) SAN=fuzz fuzzers
	@for f in $(FUZZ); do echo "$$f: $(FUZZ_TIME) s"; mkdir -p build/fuzz/corpus/$$f; \
	  seeds=; [ -d spec/fuzz/seeds/$$f ] && seeds=spec/fuzz/seeds/$$f; \
	  build/fuzz/$$f -max_total_time=$(FUZZ_TIME) -timeout=5 -rss_limit_mb=1024 -print_final_stats=0 -verbosity=0 \
	    -artifact_prefix=build/fuzz/$$f- build/fuzz/corpus/$$f $$seeds || exit 1; done

clean:
	rm -rf build
